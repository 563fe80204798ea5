// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package netns

import (
	"bytes"
	"context"
	"io"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/cluster/netns/standin"
	"github.com/lbmatrix/lbmatrix/harness/ledger"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// TestMain makes the test binary the first process of machines.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "idle" {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// makeMachine makes a furnished machine without a link.
func makeMachine(t *testing.T, name string) (*machine, *ledger.Ledger) {
	t.Helper()
	if missing := Missing(&scenario.Scenario{}); len(missing) > 0 {
		t.Skipf("this machine cannot make namespaces: %v", missing)
	}
	l, err := ledger.Open(t.TempDir(), "x")
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	m, err := startMachine(l, self, name)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, m.stop(context.WithoutCancel(t.Context())))
		require.NoError(t, l.Close(false))
	})
	require.NoError(t, m.furnish(t.Context(), ""))
	return m, l
}

func output(t *testing.T, h *machine, script string) string {
	t.Helper()
	out, err := cluster.Output(t.Context(), &member{machine: h}, "sh", "-c", script)
	require.NoError(t, err)
	return strings.TrimSpace(out)
}

func TestMachineIsItsOwn(t *testing.T) {
	m, l := makeMachine(t, "lbm-alone")
	require.Len(t, l.Entries(), 1, "it is in the ledger")
	require.Equal(t, "lbm-alone", output(t, m, "hostname"))
	require.Equal(t, "lo", output(t, m, "ls /sys/class/net"))
	require.Equal(t, "1", output(t, m, "ps -o pid= -p 1 | tr -d ' '"))
	require.Contains(t, output(t, m, "touch /lbmatrix-x 2>&1 || true"), "Read-only")
	require.Equal(t, "ok", output(t, m, "echo ok >/run/x && cat /run/x"))
	require.NoFileExists(t, "/run/x")
	host, err := os.Hostname()
	require.NoError(t, err)
	require.NotEqual(t, "lbm-alone", host)

	err = m.Run(t.Context(), cluster.Command{Path: "sh", Args: []string{"-c", "echo no >&2; exit 7"}})
	var exit *cluster.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 7, exit.Code)
	require.Contains(t, err.Error(), "no")
}

func TestCommandDiesWithItsContext(t *testing.T) {
	m, _ := makeMachine(t, "lbm-cancel")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err := m.Run(ctx, cluster.Command{Path: "sh", Args: []string{"-c", "sleep 77 & wait"}})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Eventually(t, func() bool { return output(t, m, "pgrep -f '[s]leep 77' || true") == "" }, 5*time.Second, 50*time.Millisecond)
}

// Whatever runs in a machine ends with it, also what was sent to the background, and
// the machine ends with the pipe: that is what a killed process lets go of.
func TestEverythingEndsWithTheMachine(t *testing.T) {
	m, l := makeMachine(t, "lbm-ends")
	p, err := m.start("sleeper", t.TempDir()+"/log", nil, []string{"sh", "-c", "echo hello; sleep 78 & sleep 78"})
	require.NoError(t, err)
	require.NoError(t, p.died())
	require.Eventually(t, func() bool { return output(t, m, "pgrep -cf '[s]leep 78'") != "0" }, 5*time.Second, 20*time.Millisecond)
	inside := m.netns()
	require.NoError(t, m.stdin.Close())
	<-p.done
	require.ErrorContains(t, p.died(), "hello", "the end of its log is told")
	require.Eventually(t, func() bool { _, err := os.Stat(inside); return err != nil }, 5*time.Second, 20*time.Millisecond)
	require.NoError(t, m.stop(t.Context()))
	require.Empty(t, l.Entries())
}

func TestKeptMachineNeedsItsLedger(t *testing.T) {
	m, l := makeMachine(t, "lbm-kept")
	require.NoError(t, m.keep(t.Context()))
	require.NoError(t, m.stdin.Close())
	select {
	case <-m.done:
		t.Fatal("it ended with the pipe though it was to be kept")
	case <-time.After(500 * time.Millisecond):
	}
	require.Equal(t, "lbm-kept", output(t, m, "hostname"))
	require.Len(t, l.Entries(), 1)
	require.NoError(t, m.stop(t.Context())) // closes nothing, waits, kills
	require.Empty(t, l.Entries())
}

// A volume is found where the program looks for it, though that is on a file system that
// cannot be written; what else is there stays, and a refresh shows at once.
func TestVolumesAreBoundOverReadOnlyFolders(t *testing.T) {
	m, _ := makeMachine(t, "lbm-volumes")
	dir := t.TempDir()
	roles := make(chan struct{})
	r := &runtime{
		c:      &Cluster{o: Options{Dir: dir, Programs: map[string]string{"shell": "/bin/sh"}}, finishing: &finishing{roles: roles}},
		places: map[string]*machine{"n/p": m},
	}
	c := standin.Container{
		Namespace: "n", Pod: "p", Node: "here", Program: "shell", Env: []string{"GREETING=hello"},
		Args: []string{"-c", `echo "$GREETING $(cat /etc/one/a) $(cat /etc/two/deep/b) $(cat /var/run/three/c) $(test -s /etc/passwd && echo passwd)"; until [ "$(cat /etc/one/a)" = new ]; do sleep 0.05; done; echo refreshed`},
		Mounts: []standin.Mount{
			{Path: "/etc/one", Files: map[string][]byte{"a": []byte("1")}},
			{Path: "/etc/two/deep", Files: map[string][]byte{"b": []byte("2")}},
			{Path: "/var/run/three", Files: map[string][]byte{"c": []byte("3")}},
		},
	}
	early, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := r.Start(early, c)
	require.ErrorIs(t, err, context.DeadlineExceeded, "no program before the API server's roles")
	close(roles)
	ended, err := r.Start(t.Context(), c)
	require.NoError(t, err)
	log := func() string { data, _ := os.ReadFile(dir + "/cluster/here/p.log"); return string(data) }
	require.Eventually(t, func() bool { return strings.Contains(log(), "hello") }, 5*time.Second, 20*time.Millisecond, "%s", log())
	require.Equal(t, "hello 1 2 3 passwd\n", log())
	require.NoError(t, r.Refresh(c, standin.Mount{Path: "/etc/one", Files: map[string][]byte{"a": []byte("new")}}))
	require.ErrorContains(t, <-ended, "refreshed")
	require.NoDirExists(t, "/etc/one")
	require.NoDirExists(t, "/run/lbmatrix/volumes")

	host, err := (&Cluster{runtime: r}).PodHost("n", "p")
	require.NoError(t, err)
	require.Equal(t, "lbm-volumes", host.Name())
	_, err = (&Cluster{runtime: r}).PodHost("n", "other")
	require.ErrorContains(t, err, "pod n/other was not prepared")
	_, err = r.Start(t.Context(), standin.Container{Namespace: "n", Pod: "p", Program: "nothing"})
	require.ErrorContains(t, err, "no program for image nothing")
}

// Two members of a segment reach each other, and whoever watches sees it.
func TestSegmentIsWired(t *testing.T) {
	l, members := wired(t, scenario.IPv4)
	ifs, err := members[1].Interfaces(t.Context())
	require.NoError(t, err)
	require.Equal(t, "eth0", ifs[1].Name)
	require.Equal(t, l.mac(offsetNodes+1).String(), ifs[1].MAC)
	require.Equal(t, []netip.Prefix{l.prefix(offsetNodes + 1)}, ifs[1].Addresses)
	var out bytes.Buffer
	neighbour := func(a netip.Addr) string {
		return output(t, members[0].machine, "curl -s --max-time 2 http://"+a.String()+":1; ip neigh show to "+a.String())
	}
	for _, who := range []int{offsetNodes + 1, offsetGateway} {
		require.Contains(t, neighbour(l.address(who)), l.mac(who).String())
	}
	require.NotContains(t, neighbour(l.segment(2).Unassigned), "lladdr", "nobody has that address")
	require.NoError(t, members[0].Run(t.Context(), cluster.Command{Path: "ip", Args: []string{"route", "get", l.podParts[1].Addr().Next().String()}, Stdout: &out}))
	require.Contains(t, out.String(), "via "+l.address(offsetNodes+1).String())
}

// wired is a segment of two nodes with a family of addresses.
func wired(t *testing.T, family scenario.IPFamily) (layout, []*member) {
	t.Helper()
	sw, _ := makeMachine(t, "lbm-switch")
	sc := scenarioOf("wired", 1, 2)
	sc.Spec.Cluster.IPFamily = family
	l, err := newLayout(sc)
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	var members []*member
	for i, name := range []string{"lbm-a", "lbm-b"} {
		m, err := startMachine(sw.ledger, self, name)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, m.stop(context.WithoutCancel(t.Context()))) })
		members = append(members, &member{machine: m, offset: offsetNodes + i, node: i})
	}
	require.NoError(t, wire(t.Context(), sw, l, members))
	for _, m := range members {
		require.NoError(t, m.furnish(t.Context(), l.routes(m, 2), l.prefixes(m.offset)...))
	}
	return l, members
}

// With IPv6 nodes and pods reach each other by it as well, at once; without there is none.
func TestSegmentIsWiredForIPv6(t *testing.T) {
	if missing := Missing(&scenario.Scenario{Spec: scenario.Spec{Cluster: scenario.Cluster{IPFamily: scenario.Dual}}}); len(missing) > 0 {
		t.Skipf("this machine cannot run a cluster with IPv6: %v", missing)
	}
	l, members := wired(t, scenario.Dual)
	places, err := l.pod(1, 1)
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	pod, err := startMachine(members[0].ledger, self, "lbm-pod")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, pod.stop(context.WithoutCancel(t.Context()))) })
	require.NoError(t, plug(t.Context(), members[1], pod, 1, podMAC(places[0].address), places...))
	for _, a := range []netip.Addr{l.six.address(offsetNodes + 1), places[1].gateway, places[1].address} {
		// A refusal comes from who has the address; nobody listens there.
		said := output(t, members[0].machine, "curl -s --max-time 2 http://["+a.String()+"]:1; echo $?")
		require.Equal(t, "7", strings.TrimSpace(said), "a connection to %s is refused, not lost", a)
	}
	require.Equal(t, "7", strings.TrimSpace(output(t, pod, "curl -s --max-time 2 http://["+l.six.address(offsetNodes).String()+"]:1; echo $?")), "and the way back")

	_, plain := wired(t, scenario.IPv4)
	require.NotContains(t, output(t, plain[0].machine, "ip -6 addr show dev eth0"), "inet6")
}
