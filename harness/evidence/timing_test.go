// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package evidence

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/arp"
	"github.com/lbmatrix/lbmatrix/harness/world"
)

// exchanges is how many questions and answers are timed.
const exchanges = 1000

// The round trip by the instrument's timestamps, beside that by tcpdump's on the same
// frames: with the machine idle, and with every core busy.
func TestRoundTripBesideTcpdump(t *testing.T) {
	trials(t)
	for _, busy := range []bool{false, true} {
		s := newSite(t)
		respond(t, s.one, world.Script{Addresses: vips(0, 1)})
		dump := startTcpdump(t, s.observer)
		stop := func() {}
		if busy {
			stop = burn(t, runtime.NumCPU())
		}
		_, records := s.sweep(t, arp.Config{Targets: vips(0, 1), Count: exchanges, Interval: 2 * time.Millisecond, Settle: settle})
		stop()
		theirs := dump()
		ours, own := roundTrips(t, records)
		require.Equal(t, []int{exchanges, exchanges}, []int{len(ours), len(theirs)})
		var differences, excess []time.Duration
		for i := range ours {
			differences = append(differences, (ours[i] - theirs[i]).Abs())
			excess = append(excess, own[i]-theirs[i])
		}
		word := map[bool]string{false: "as the machine was", true: "every core busy"}[busy]
		t.Logf("%s: round trip by tcpdump: median %s, p99 %s, n=%d", word, quantile(theirs, 0.5), quantile(theirs, 0.99), len(theirs))
		t.Logf("%s: round trip by the instrument: median %s, p99 %s", word, quantile(ours, 0.5), quantile(ours, 0.99))
		t.Logf("%s: difference on the same frames: median %s, p99 %s, largest %s", word, quantile(differences, 0.5), quantile(differences, 0.99), quantile(differences, 1))
		t.Logf("%s: a send time taken in the program would have added: median %s, p99 %s", word, quantile(excess, 0.5), quantile(excess, 0.99))
	}
}

// roundTrips of a sweep's probes, in order: from the kernel's send time, and from the
// program's.
func roundTrips(t *testing.T, records []probe.Record) (kernel, own []time.Duration) {
	t.Helper()
	sent := map[int]probe.ARPProbe{}
	answered := map[int]bool{}
	var open []int // asked, not answered: attribution is to the latest, but answers come in order
	for _, r := range records {
		switch r.Kind {
		case probe.KindARPProbe:
			p, err := probe.Decode[probe.ARPProbe](r)
			require.NoError(t, err)
			require.NotZero(t, p.KernelNS)
			sent[p.Probe] = p
			open = append(open, p.Probe)
		case probe.KindARPReply:
			reply, err := probe.Decode[probe.ARPReply](r)
			require.NoError(t, err)
			p := sent[open[0]]
			open = open[1:]
			require.False(t, answered[p.Probe])
			answered[p.Probe] = true
			kernel = append(kernel, time.Duration(reply.ReceivedNS-p.KernelNS))
			own = append(own, time.Duration(reply.ReceivedNS-p.SentNS))
		}
	}
	return kernel, own
}

// startTcpdump listens on a host until the function it returns is called, which gives the
// round trips that tcpdump saw.
func startTcpdump(t *testing.T, h *world.Host) func() []time.Duration {
	t.Helper()
	path, env := tool(t, "tcpdump/usr/bin/tcpdump")
	file := filepath.Join(t.TempDir(), "dump.pcap")
	cmd := exec.CommandContext(t.Context(), path, "-i", world.Interface, "-w", file, "-U", "-s", "128", "-B", "8192", "--immediate-mode", "--time-stamp-precision=nano", "-Z", "root", "arp")
	cmd.Env = env
	said, err := os.CreateTemp(t.TempDir(), "said")
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = said, said
	require.NoError(t, h.Do(cmd.Start))
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(said.Name())
		return err == nil && strings.Contains(string(text), "listening on")
	}, 10*time.Second, 10*time.Millisecond)
	return func() []time.Duration {
		time.Sleep(settle) // it writes the last frames when it reads them, not when they come
		require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
		require.NoError(t, cmd.Wait())
		text, err := os.ReadFile(said.Name())
		require.NoError(t, err)
		require.Contains(t, string(text), "\n0 packets dropped by kernel")
		return dumped(t, file)
	}
}

func dumped(t *testing.T, file string) []time.Duration {
	t.Helper()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	reader, err := pcapgo.NewReader(f)
	require.NoError(t, err)
	var trips []time.Duration
	var open []time.Time
	for {
		data, info, err := reader.ReadPacketData()
		if err == io.EOF {
			return trips
		}
		require.NoError(t, err)
		frame, err := arp.Parse(data)
		if err != nil {
			continue
		}
		switch {
		case frame.Op == arp.OpRequest && frame.TargetIP == vip(0):
			open = append(open, info.Timestamp)
		case frame.Op == arp.OpReply && frame.SenderIP == vip(0):
			trips = append(trips, info.Timestamp.Sub(open[0]))
			open = open[1:]
		}
	}
}

// burn keeps n cores busy, in processes of their own, until the function it returns is called.
func burn(t *testing.T, n int) func() {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	var all []*exec.Cmd
	for range n {
		cmd := exec.CommandContext(ctx, "/bin/sh", "-c", "while :; do :; done")
		require.NoError(t, cmd.Start())
		all = append(all, cmd)
	}
	return func() {
		cancel()
		for _, cmd := range all {
			_ = cmd.Wait() // it was killed
		}
	}
}

func quantile(all []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// A thousand addresses, five times each, in one pass: how long it takes and what is lost.
func TestThousandVIPs(t *testing.T) {
	trials(t)
	s := newSite(t)
	const n, rounds = 1000, 5
	respond(t, s.one, world.Script{Addresses: vips(0, n/2)})
	respond(t, s.two, world.Script{Addresses: vips(n/2, n/2)})
	for _, rate := range []float64{1000, 5000, 20000} {
		begin := time.Now()
		summary, records := s.sweep(t, arp.Config{Targets: vips(0, n), Count: rounds, Interval: time.Millisecond, MaxRate: rate, Settle: 500 * time.Millisecond})
		answered := 0
		for _, v := range summary.VIPs {
			if v.MACs() == 1 && v.Answered > 0 {
				answered++
			}
		}
		count := totals(t, records)
		t.Logf("%d addresses x %d at %.0f a second at most: %.1f s, %d frames sent, %d replies, %d addresses with one responder, %d frames dropped by the kernel",
			n, rounds, rate, time.Since(begin).Seconds(), count.Sent, count.Replies, answered, count.KernelDrops)
		if rate == 1000 { // the default of lbmatrix probe arp
			require.Equal(t, n, answered)
			require.Equal(t, n*rounds, count.Replies)
			require.Zero(t, count.KernelDrops)
		}
	}
}
