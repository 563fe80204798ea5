// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package component

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/storage/driver"
	"k8s.io/client-go/rest"

	"github.com/lbmatrix/lbmatrix/harness/pace"
)

// defaultWithin bounds one Helm operation.
const defaultWithin = 2 * time.Minute

// Helm is the Installer on the Helm SDK, version 3.
type Helm struct {
	config *rest.Config
	dir    string // values are saved there; empty saves nothing
	log    *lineLog
}

var _ Installer = (*Helm)(nil)

// NewHelm makes an installer for the cluster behind config. The values of each
// release are written to dir. A nil config only does for Template.
func NewHelm(config *rest.Config, dir string, log io.Writer) *Helm {
	return &Helm{config: config, dir: dir, log: &lineLog{out: log}}
}

// Install implements Installer.
func (h *Helm) Install(ctx context.Context, r Release) error {
	values, err := mergeValues(r)
	if err != nil {
		return err
	}
	if err := saveValues(h.dir, r.Name, values); err != nil {
		return err
	}
	ch, err := loader.Load(r.ChartDir)
	if err != nil {
		return fmt.Errorf("install %s: load chart: %w", r.Name, err)
	}
	return detached(ctx, "install "+r.Name, func() error {
		cfg, err := h.configuration(r.Namespace)
		if err != nil {
			return err
		}
		_, err = cfg.Releases.Last(r.Name)
		if errors.Is(err, driver.ErrReleaseNotFound) {
			return h.install(ctx, cfg, r, ch, values)
		}
		if err != nil {
			return fmt.Errorf("look for release: %w", err)
		}
		up := action.NewUpgrade(cfg)
		up.Namespace, up.Timeout, up.ResetValues = r.Namespace, within(ctx, r), true
		_, err = up.RunWithContext(ctx, r.Name, ch, values)
		return err
	})
}

func (h *Helm) install(ctx context.Context, cfg *action.Configuration, r Release, ch *chart.Chart, values map[string]any) error {
	in := action.NewInstall(cfg)
	in.ReleaseName, in.Namespace, in.CreateNamespace, in.Timeout = r.Name, r.Namespace, true, within(ctx, r)
	_, err := in.RunWithContext(ctx, ch, values)
	return err
}

// Uninstall implements Installer. A release that is not there is fine.
func (h *Helm) Uninstall(ctx context.Context, name, namespace string) error {
	return detached(ctx, "uninstall "+name, func() error {
		cfg, err := h.configuration(namespace)
		if err != nil {
			return err
		}
		un := action.NewUninstall(cfg)
		un.IgnoreNotFound, un.Timeout = true, defaultWithin
		_, err = un.Run(name)
		return err
	})
}

// Template implements Installer.
func (h *Helm) Template(ctx context.Context, r Release) (string, error) {
	values, err := mergeValues(r)
	if err != nil {
		return "", err
	}
	ch, err := loader.Load(r.ChartDir)
	if err != nil {
		return "", fmt.Errorf("render %s: load chart: %w", r.Name, err)
	}
	in := action.NewInstall(&action.Configuration{Log: h.log.printf})
	in.ReleaseName, in.Namespace = r.Name, r.Namespace
	in.ClientOnly, in.DryRun, in.Replace, in.IncludeCRDs = true, true, true, true
	// Helm's own default lags behind and would refuse charts for current clusters.
	in.KubeVersion = &chartutil.KubeVersion{Version: "v1.35.0", Major: "1", Minor: "35"}
	rel, err := in.RunWithContext(ctx, ch, values)
	if err != nil {
		return "", fmt.Errorf("render %s: %w", r.Name, err)
	}
	return rel.Manifest, nil
}

func (h *Helm) configuration(namespace string) (*action.Configuration, error) {
	if h.config == nil {
		return nil, errors.New("no cluster given")
	}
	cfg := &action.Configuration{}
	if err := cfg.Init(newGetter(h.config, namespace), namespace, "secret", h.log.printf); err != nil {
		return nil, fmt.Errorf("set up Helm: %w", err)
	}
	return cfg, nil
}

func within(ctx context.Context, r Release) time.Duration {
	if r.Within > 0 {
		return pace.Scale(ctx, r.Within)
	}
	return pace.Scale(ctx, defaultWithin)
}

// detached runs what cannot be cancelled in a goroutine of its own and returns when
// it ends or ctx does. Helm gives up its goroutine on cancel as well, so the process
// should end soon after.
func detached(ctx context.Context, what string, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", what, context.Cause(ctx))
	}
}

// lineLog takes Helm's debug messages.
type lineLog struct {
	mu  sync.Mutex
	out io.Writer
}

func (l *lineLog) printf(format string, args ...any) {
	if l.out == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	// Nothing can be done about a log that cannot be written.
	_, _ = fmt.Fprintln(l.out, "helm: "+strings.TrimSpace(fmt.Sprintf(format, args...)))
}
