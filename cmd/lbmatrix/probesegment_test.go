// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/report"
	"github.com/lbmatrix/lbmatrix/harness/world"
)

// onHost runs lbmatrix on a host of a world.
func onHost(t *testing.T, h *world.Host, args ...string) (code int, out []byte) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", args...)
	cmd.Args[0] = "lbmatrix"
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, h.Do(cmd.Start))
	_ = cmd.Wait() // the exit code is looked at
	t.Logf("%s%s", stdout.String(), stderr.String())
	return cmd.ProcessState.ExitCode(), stdout.Bytes()
}

// The output that scripts read: one object, with these fields.
func TestProbeByHand(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	s, err := world.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	host := func(n byte) *world.Host {
		h, err := s.Host(string('a'+rune(n)), netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 99, 0, n}), 24),
			netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 15: n}), 64))
		require.NoError(t, err)
		return h
	}
	client, one, two := host(1), host(2), host(3)
	for _, family := range []struct{ instrument, single, both, silent string }{
		{"arp", "10.99.0.2", "10.99.0.40", "10.99.0.99"},
		{"ndp", "fd00::2", "fd00::40", "fd00::99"},
	} {
		both := []netip.Addr{netip.MustParseAddr(family.both)}
		for _, h := range []*world.Host{one, two} {
			if family.instrument == "arp" {
				_, err = h.Respond(world.Script{Addresses: both})
			} else {
				_, err = h.RespondNDP(world.Script{Addresses: both})
			}
			require.NoError(t, err)
		}
		probe := []string{"probe", family.instrument, "--iface", world.Interface, "--count", "5", "--interval", "5ms", "--settle", "300ms", "--vip"}
		code, out := onHost(t, client, append(probe, family.single, "-o", "json")...)
		require.Equal(t, report.ExitOK, code)
		var summary struct {
			VIPs []struct {
				VIP         string
				Sent        int
				Answered    int
				Gratuitous  *int
				KernelDrops *int
				Responders  []struct {
					MAC, EthernetSource string
					Replies             int
				}
			}
			KernelDrops *int
		}
		decoder := json.NewDecoder(bytes.NewReader(out))
		require.NoError(t, decoder.Decode(&summary))
		require.ErrorIs(t, decoder.Decode(&struct{}{}), io.EOF, "one object and nothing else")
		require.Len(t, summary.VIPs, 1)
		v := summary.VIPs[0]
		require.Equal(t, family.single, v.VIP)
		require.Equal(t, []int{5, 5, 0, 0}, []int{v.Sent, v.Answered, *v.Gratuitous, *v.KernelDrops})
		require.Len(t, v.Responders, 1)
		require.Equal(t, one.MAC.String(), v.Responders[0].MAC)
		require.Equal(t, one.MAC.String(), v.Responders[0].EthernetSource)
		require.Equal(t, 5, v.Responders[0].Replies)

		code, out = onHost(t, client, append(probe, family.both+","+family.silent)...)
		require.Equal(t, report.ExitFailed, code, "two answer for one, nobody for the other")
		require.Contains(t, string(out), two.MAC.String())
		require.Contains(t, string(out), "5/5")
		require.Contains(t, string(out), "0/5")
	}
}
