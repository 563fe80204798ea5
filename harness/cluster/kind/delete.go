// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package kind

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/cluster/await"
	"github.com/lbmatrix/lbmatrix/harness/docker"
	"github.com/lbmatrix/lbmatrix/harness/ledger"
)

// Remover removes what a ledger names with the docker command: what Delete and
// `lbmatrix clean` have in common.
func Remover() ledger.DockerCLI {
	return ledger.DockerCLI{
		Command: func(ctx context.Context, host string, args ...string) *exec.Cmd {
			return (&docker.Client{Host: host}).Command(ctx, args...)
		},
		DataGone: docker.DataGone,
	}
}

func (c *Cluster) remover() ledger.DockerRemover { return Remover() }

// removeAll removes entries side by side.
func removeAll(ctx context.Context, d ledger.DockerRemover, entries []ledger.Entry, l *ledger.Ledger) []error {
	errs := make([]error, len(entries))
	var wg sync.WaitGroup
	for i, e := range entries {
		wg.Go(func() {
			err := d.RemoveDocker(ctx, e)
			if err == nil || errors.Is(err, ledger.ErrGone) {
				err = l.Done(e)
			}
			if err != nil {
				errs[i] = fmt.Errorf("remove %s %s: %w", e.Kind, e.Name, err)
			}
		})
	}
	wg.Wait()
	return errs
}

// WaitGone verifies that docker holds nothing of this cluster any more: no container
// or network by label or name.
func (c *Cluster) WaitGone(ctx context.Context) error {
	w := await.Wait{For: "docker to hold nothing of cluster " + c.o.Name, Within: 30 * time.Second}
	return await.Until(ctx, w, func(ctx context.Context) (bool, string, error) {
		left, err := c.left(ctx)
		return err == nil && len(left) == 0, strings.Join(left, ", "), err
	})
}

func (c *Cluster) left(ctx context.Context) ([]string, error) {
	ours := []string{"label=" + LabelRun + "=" + c.o.RunID, "label=" + LabelScenario + "=" + c.o.Scenario.Metadata.Name}
	var left []string
	for _, q := range [][]string{
		append([]string{"ps", "-a", "--format", "container {{.Names}}"}, filters(ours...)...),
		append([]string{"ps", "-a", "--format", "container {{.Names}}"}, filters("label="+labelKind+"="+c.o.Name)...),
		append([]string{"network", "ls", "--format", "network {{.Name}}"}, filters(ours...)...),
	} {
		out, err := c.o.Docker.Output(ctx, q...)
		if err != nil {
			return nil, err
		}
		if out != "" {
			left = append(left, strings.Split(out, "\n")...)
		}
	}
	return left, nil
}

func filters(f ...string) []string {
	var out []string
	for _, s := range f {
		out = append(out, "--filter", s)
	}
	return out
}
