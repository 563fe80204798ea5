// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package runner

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/lbmatrix/lbmatrix/harness/cluster/netns"
	"github.com/lbmatrix/lbmatrix/harness/docker"
	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/preflight"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// ProviderAuto takes kind where a Docker daemon answers, and netns elsewhere.
const ProviderAuto = "auto"

// ParseProvider reads the value of --provider; the empty one is ProviderAuto.
func ParseProvider(s string) (string, error) {
	switch s {
	case "":
		return ProviderAuto, nil
	case ProviderAuto, scenario.ProviderKind, scenario.ProviderNetns:
		return s, nil
	}
	return "", fmt.Errorf("--provider %s: want %s, %s or %s", s, ProviderAuto, scenario.ProviderKind, scenario.ProviderNetns)
}

// choice is who makes a scenario's cluster, and why it is them.
type choice struct {
	provider string
	why      string
	daemon   *docker.Client // of kind
}

// daemons finds the Docker daemon. One that was named and does not answer is a mistake to
// tell of, not a reason to run something else.
type daemons struct {
	find  func(context.Context) (*docker.Client, error)
	named bool
}

func findDaemon() daemons {
	return daemons{find: docker.Find, named: os.Getenv("DOCKER_HOST") != ""}
}

// choose finds the provider of a scenario's cluster. The error is an unsupportedError
// where this machine, or what was asked for, leaves none.
func choose(ctx context.Context, asked string, sc *scenario.Scenario, from daemons) (choice, error) {
	needs := sc.Spec.Cluster.Provider
	if sc.Spec.Cluster.CNI == scenario.CNICilium {
		needs = scenario.ProviderKind // Cilium's agents are pods that need a kubelet
	}
	why := "--provider asks for it"
	if asked == ProviderAuto && needs != scenario.ProviderAny {
		asked, why = needs, "the scenario needs it"
	}
	if needs != scenario.ProviderAny && needs != asked {
		return choice{}, lacks(
			fmt.Sprintf("it needs a cluster of provider %s, and --provider %s was asked for", needs, asked),
			"Run it without --provider; `make matrix` starts a Docker daemon where none is")
	}
	if asked == scenario.ProviderNetns {
		return choice{provider: scenario.ProviderNetns, why: why}, nil
	}
	d, err := from.find(ctx)
	if err == nil {
		if asked == ProviderAuto {
			why = "a Docker daemon answers at " + d.Host
		}
		return choice{provider: scenario.ProviderKind, why: why, daemon: d}, nil
	}
	if asked == ProviderAuto && !from.named && errors.Is(err, docker.ErrNoDaemon) {
		return choice{provider: scenario.ProviderNetns, why: "no Docker daemon answers"}, nil
	}
	if needs == scenario.ProviderKind && !from.named && errors.Is(err, docker.ErrNoDaemon) {
		return choice{}, lacks(fmt.Sprintf("it needs a cluster of provider %s: %v", needs, err), "Run `make matrix`, which starts a Docker daemon (Debian, root)")
	}
	return choice{}, err
}

func lacks(missing, fix string) error {
	return &unsupportedError{journal.Unsupported{Missing: []string{missing}, Fix: fix}}
}

// netnsCheck asks this machine whether clusters of namespaces can run on it.
func netnsCheck(ctx context.Context, sc *scenario.Scenario) error {
	// The kernel first: where it lacks something a guest has everything else too.
	kernel, err := preflight.Running()
	if err != nil {
		return err
	}
	if u := preflight.Check(ctx, kernel, sc); u != nil {
		return &kernelError{unsupportedError{*u}}
	}
	if missing := netns.Missing(sc); len(missing) > 0 {
		return &unsupportedError{journal.Unsupported{Missing: missing, Fix: "Get what is missing: `make netns` does on Debian, as root"}}
	}
	nodes := 1 + sc.Spec.Cluster.Workers
	for _, check := range []func() *journal.Unsupported{
		func() *journal.Unsupported {
			return preflight.ThisInotify().Check(nodes, preflight.InotifyPerNamespaceNode)
		},
		func() *journal.Unsupported { return preflight.CheckMemory(preflight.Memory, nodes) },
		func() *journal.Unsupported { return preflight.ThisNeighbours().Check(nodes) },
	} {
		if u := check(); u != nil {
			return &unsupportedError{*u}
		}
	}
	return nil
}
