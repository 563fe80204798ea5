// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package guest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/artifact"
	"github.com/lbmatrix/lbmatrix/harness/artifact/gobuild"
	"github.com/lbmatrix/lbmatrix/harness/guest/job"
	"github.com/lbmatrix/lbmatrix/harness/ledger"
	"github.com/lbmatrix/lbmatrix/harness/pace"
)

// realGuest is the guest in the store, or why there is none: making it takes minutes and
// the network, so a test does not.
func realGuest(t *testing.T) (string, artifact.Guest) {
	t.Helper()
	if testing.Short() {
		t.Skip("boots a machine")
	}
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
	qemu, err := exec.LookPath(qemuProgram)
	if err != nil {
		t.Skipf("no %s", qemuProgram)
	}
	store, err := artifact.Open(artifact.Options{})
	require.NoError(t, err)
	if !store.HasGuest(artifact.DefaultGuestKernel) {
		t.Skip("no guest in the store; `lbmatrix vm run -- version` makes one")
	}
	g, err := store.Guest(t.Context(), artifact.DefaultGuestKernel)
	require.NoError(t, err)
	return qemu, g
}

// A real machine comes up with a kernel of its own, has what kube-proxy needs in ipvs mode
// and no way out, runs the job and brings the results back.
func TestRealGuest(t *testing.T) {
	qemu, g := realGuest(t)
	dir := t.TempDir()
	for _, d := range []string{"cargo/bin", "cargo/work", "run", "results"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	// The agent is this package's; what it runs is a script.
	require.NoError(t, gobuild.Build(t.Context(), gobuild.Spec{Dir: "../..", Packages: []string{"./harness/guest/testdata/agent"}, Out: filepath.Join(dir, "cargo/bin/agent")}))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cargo/bin/lbmatrix"), []byte(`#!/bin/sh
[ "$1" = lbmatrix-guest ] && exec /lbmatrix/bin/agent
mkdir -p results/run-1
exec >results/run-1/said 2>&1
cat input
uname -r
for module in ip_vs ip_vs_rr dummy nf_tables veth bridge; do modprobe $module || exit 9; done
ip link add d0 type dummy && ip addr add 198.51.100.1/32 dev d0 && ipvsadm -A -t 198.51.100.1:80 -s rr && ipvsadm -S -n
ip netns add n1 && ip netns exec n1 ip link set lo up && ip netns del n1
ls /sys/class/net
iptables -t nat -S PREROUTING && nft list ruleset >/dev/null
echo "$LBMATRIX_GUEST"
echo progress >&2
exit 4
`), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cargo/work/input"), []byte("input came along\n"), 0o644))
	hostPace, err := pace.Measure(t.Context(), 3)
	require.NoError(t, err)
	l, err := ledger.Open(filepath.Join(dir, "ledger"), "test")
	require.NoError(t, err)

	accelerator, why := Accelerator(t.Context(), qemu, g)
	t.Logf("%s: %s", accelerator, why)
	var events []job.Event
	began := time.Now()
	r, err := Run(t.Context(), Options{
		QEMU: qemu, Guest: g, CPUs: DefaultCPUs, Memory: 512 << 20, Cargo: filepath.Join(dir, "cargo"), Dir: filepath.Join(dir, "run"),
		Results: filepath.Join(dir, "results"), Scratch: filepath.Join(dir, "scratch"), Ledger: l,
		Job:    job.Job{Args: []string{"anything"}, Accelerator: accelerator, HostPace: hostPace, Allowance: 20 * time.Second},
		Events: func(e job.Event) { events = append(events, e) },
	})
	require.NoError(t, err)
	t.Logf("%s in all, %s up to the command, %s for it, %.1f times slower (%s against %s)",
		time.Since(began), r.UpToWork, r.Elapsed, r.Slowdown, r.Pace, hostPace)
	said, err := os.ReadFile(filepath.Join(dir, "results", "run-1", "said"))
	require.NoError(t, err)
	require.Equal(t, 4, r.Code, string(said))
	require.Equal(t, g.Release, r.Kernel)
	for _, want := range []string{"input came along", g.Release, "-A -t 198.51.100.1:80 -s rr", `"accelerator":"` + accelerator + `"`} {
		require.Contains(t, string(said), want)
	}
	for _, link := range strings.Fields(string(said)) {
		require.False(t, strings.HasPrefix(link, "eth") || strings.HasPrefix(link, "en"), "a way out: %s", link)
	}
	require.Equal(t, job.Ready, events[0].Type)
	require.Empty(t, l.Entries())
	require.NoDirExists(t, filepath.Join(dir, "scratch"))
}
