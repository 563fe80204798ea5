// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package preflight

import (
	"context"
	"fmt"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// Needs lists what a scenario's data plane needs of the kernel of the machine its
// nodes run on: containers share it and can bring none of it along.
func Needs(s *scenario.Scenario) []Feature {
	var out []Feature
	switch s.Spec.DataPlane.Proxy {
	case scenario.ProxyIPVS:
		// kube-proxy binds VIPs to a dummy device, and its scheduler is rr unless told otherwise.
		out = append(out, Feature{"CONFIG_IP_VS", "ip_vs"}, Feature{"CONFIG_IP_VS_RR", "ip_vs_rr"}, Feature{"CONFIG_DUMMY", "dummy"})
	case scenario.ProxyNFTables:
		out = append(out, Feature{"CONFIG_NF_TABLES", "nf_tables"})
	}
	if s.Spec.Cluster.DualStack() {
		out = append(out, Feature{"CONFIG_IPV6", "ipv6"})
	}
	if s.Spec.Cluster.CNI == scenario.CNICilium {
		out = append(out, Feature{"CONFIG_BPF_SYSCALL", ""}, Feature{"CONFIG_CGROUP_BPF", ""},
			Feature{"CONFIG_NET_CLS_BPF", "cls_bpf"}, Feature{"CONFIG_NET_SCH_INGRESS", "sch_ingress"})
	}
	return out
}

// Lacks says what a kernel lacks for a scenario, nil when it lacks nothing: a module that
// is there counts, loaded or not.
func Lacks(k *Kernel, s *scenario.Scenario) *journal.Unsupported {
	var missing []string
	for _, f := range Needs(s) {
		if k.State(f) == Absent {
			missing = append(missing, fmt.Sprintf("kernel %s has no %s (%s)", k.Release, f.Option, orBuiltIn(f.Module)))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return &journal.Unsupported{Missing: missing, Fix: elsewhere}
}

// elsewhere is the way out where a kernel lacks something.
const elsewhere = "Run it on a machine whose kernel has it: Debian's and Ubuntu's own kernels do, GitHub's hosted runners too"

// Check says whether the kernel can run a scenario: nil when it can, or when nothing
// readable says otherwise. A module that is there and not loaded is loaded.
func Check(ctx context.Context, k *Kernel, s *scenario.Scenario) *journal.Unsupported {
	var missing, fix []string
	for _, f := range Needs(s) {
		switch k.State(f) {
		case Loadable:
			if err := k.Load(ctx, f); err != nil {
				missing = append(missing, fmt.Sprintf("kernel %s has module %s (%s) and it is not loaded: %v", k.Release, f.Module, f.Option, err))
				fix = append(fix, "modprobe "+f.Module)
			}
		case Absent:
			missing = append(missing, fmt.Sprintf("kernel %s has no %s (%s)", k.Release, f.Option, orBuiltIn(f.Module)))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	u := &journal.Unsupported{Missing: missing}
	if len(fix) > 0 {
		u.Fix = "As root: " + strings.Join(fix, "; ")
		if len(fix) == len(missing) {
			return u
		}
		u.Fix += ". For what the kernel has not at all: "
	}
	u.Fix += elsewhere
	return u
}

func orBuiltIn(module string) string {
	if module == "" {
		return "which can only be built in"
	}
	return "module " + module
}
