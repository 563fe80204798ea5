// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package evidence measures what the instruments of the segment can see and how well, in
// worlds whose truth is known, beside the tools that people use otherwise. It is run by
// `make evidence-instruments`; docs/instruments.md tells its figures.
package evidence

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/arp"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
	"github.com/lbmatrix/lbmatrix/harness/world"
)

// The environment that turns the measurements on: they take minutes.
const (
	envTrials = "LBMATRIX_EVIDENCE_TRIALS" // trials of each measurement of power
	envTools  = "LBMATRIX_EVIDENCE_TOOLS"  // a folder with unpacked Debian packages of other tools
)

// trials is how many are asked for; without the environment the test is skipped.
func trials(t *testing.T) int {
	t.Helper()
	text := os.Getenv(envTrials)
	if text == "" {
		t.Skipf("set %s: make evidence-instruments does", envTrials)
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	require.Positive(t, n)
	require.NoError(t, world.Available())
	return n
}

// tool finds a program of another project, and the libraries it came with.
func tool(t *testing.T, name string) (path string, env []string) {
	t.Helper()
	dir := os.Getenv(envTools)
	if dir == "" {
		t.Skipf("set %s to a folder with %s: make evidence-instruments does", envTools, name)
	}
	path = filepath.Join(dir, name)
	require.FileExists(t, path)
	libraries, err := filepath.Glob(filepath.Join(dir, "lib*/usr/lib/*"))
	require.NoError(t, err)
	return path, append(os.Environ(), "LD_LIBRARY_PATH="+join(libraries))
}

func join(parts []string) string {
	var b bytes.Buffer
	for _, p := range parts {
		b.WriteString(p + ":")
	}
	return b.String()
}

// vip is the n-th address that is asked for, of up to 65,000.
func vip(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 100, byte(1 + n/250), byte(1 + n%250)})
}

func vips(from, n int) []netip.Addr {
	var out []netip.Addr
	for i := range n {
		out = append(out, vip(from+i))
	}
	return out
}

// subnet is the segment's: it holds every VIP.
func host(n byte) netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 100, 0, n}), 16) }

// site is an observer and two hosts that answer.
type site struct {
	segment            *world.Segment
	observer, one, two *world.Host
}

func newSite(t *testing.T) site {
	t.Helper()
	s, err := world.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	out := site{segment: s}
	for i, h := range []**world.Host{&out.observer, &out.one, &out.two} {
		*h, err = s.Host("host"+strconv.Itoa(i), host(byte(1+i)))
		require.NoError(t, err)
	}
	return out
}

func respond(t *testing.T, h *world.Host, script world.Script) {
	t.Helper()
	_, err := h.Respond(script)
	require.NoError(t, err)
}

// sweep asks from the observer.
func (s site) sweep(t *testing.T, c arp.Config) (arp.Summary, []probe.Record) {
	t.Helper()
	require.NoError(t, s.observer.Do(func() (err error) {
		c.Conn, err = arp.Open(world.Interface)
		return err
	}))
	var out bytes.Buffer
	require.NoError(t, arp.Run(t.Context(), c, stream.NewWriter(&out)))
	records, err := stream.Read(&out)
	require.NoError(t, err)
	summary, err := arp.Summarize(records)
	require.NoError(t, err)
	require.True(t, summary.Complete)
	return summary, records
}

// totals of a sweep, from its end record.
func totals(t *testing.T, records []probe.Record) probe.ARPTotals {
	t.Helper()
	end, err := probe.Decode[probe.End](records[len(records)-1])
	require.NoError(t, err)
	var out probe.ARPTotals
	require.NoError(t, json.Unmarshal(end.Totals, &out))
	return out
}

const settle = 100 * time.Millisecond
