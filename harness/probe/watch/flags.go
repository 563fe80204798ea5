// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package watch

import (
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// Flags adds those that every command with this instrument has. What is watched by ARP and
// NDP, and where, is the command's to ask.
func (c *Config) Flags(f probe.Flags) {
	f.StringVar(&c.New, "new", "", "new connections to this `address:port`")
	f.StringVar(&c.Mode, "mode", probe.ModeHTTPNew, "of them: http-new or tcp-connect")
	f.StringVar(&c.Long, "long", "", "one long-lived connection to the TCP echo at this `address:port`")
	f.StringVar(&c.UDP, "udp", "", "datagrams to this `address:port`")
	f.BoolVar(&c.ARP.OwnMAC, "own-mac", false, "ask from a locally administered MAC, in promiscuous mode: the host's own kernel learns nothing")
	f.BoolVar(&c.ARP.Passive, "passive", false, "do not ask by ARP, only listen")
	f.DurationVar(&c.ARP.Grace, "grace", 50*time.Millisecond, "a silence of ARP up to this is no failure, and one of NDP no gap")
	f.DurationVar(&c.Interval, "interval", 10*time.Millisecond, "between two probes of each kind")
	f.DurationVar(&c.Timeout, "timeout", 500*time.Millisecond, "of one probe; below 1s each asks once")
	f.DurationVar(&c.Reconnect, "reconnect", 10*time.Second, "give the long-lived connection up when silent for this long")
	f.IntVar(&c.Recovered, "recovered", 3, "successes in a row that end an outage")
	f.DurationVar(&c.Duration, "duration", 0, "how long to watch; 0: until stopped")
}
