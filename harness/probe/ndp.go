// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package probe

import "net/netip"

// The kinds of record of the ndp instrument, and the type of each one's body.
const (
	KindNDPProbe       = "ndp.probe"       // NDPProbe
	KindNDPReply       = "ndp.reply"       // NDPReply
	KindNDPUnsolicited = "ndp.unsolicited" // NDPUnsolicited
)

// NDPArgs is Start.Args of the ndp instrument.
type NDPArgs struct {
	Targets    []netip.Addr `json:"targets"`
	Count      int          `json:"count"`             // rounds; 0 is until stopped
	IntervalNS int64        `json:"intervalNS"`        // between two probes for one target, as MaxRate allows
	MaxRate    float64      `json:"maxRate,omitempty"` // frames per second at most; 0 is no limit
	SettleNS   int64        `json:"settleNS"`          // listening after the last probe
}

// NDPProbe is one neighbour solicitation that was sent to the solicited-node multicast
// address of its target, or failed to be. Its fields are as in ARPProbe.
type NDPProbe struct {
	Probe    int        `json:"probe"`
	Target   netip.Addr `json:"target"`
	SentNS   int64      `json:"sentNS"`
	KernelNS int64      `json:"kernelNS,omitempty"`
	Error    string     `json:"error,omitempty"`
}

// NDPFlags are the flags of a neighbour advertisement (RFC 4861 4.4).
type NDPFlags struct {
	Router    bool `json:"router"`
	Solicited bool `json:"solicited"`
	Override  bool `json:"override"`
}

// NDPReply is one neighbour advertisement for a monitored target, sent to the address
// that asked.
type NDPReply struct {
	Probe          int        `json:"probe"`               // attributed as in ARPReply; -1 is none
	Target         netip.Addr `json:"target"`              // the address that is claimed
	TargetMAC      string     `json:"targetMAC,omitempty"` // target link-layer address option; a multicast solicitation must be answered with one (RFC 4861 7.2.4)
	EthernetSource string     `json:"ethernetSource"`      // of the frame
	Source         netip.Addr `json:"source"`              // of the packet
	NDPFlags
	SentNS     int64 `json:"sentNS"`         // of the attributed probe; 0 with Probe -1
	ReceivedNS int64 `json:"receivedNS"`     // kernel receive timestamp (SO_TIMESTAMPNS)
	VLAN       int   `json:"vlan,omitempty"` // 1..4094 when the frame came tagged, 0 untagged
}

// NDPUnsolicited is a neighbour advertisement for a monitored target that was sent to a
// multicast address, never counted as a reply: what gratuitous ARP is to IPv4.
type NDPUnsolicited struct {
	Address        netip.Addr `json:"address"`
	TargetMAC      string     `json:"targetMAC,omitempty"`
	EthernetSource string     `json:"ethernetSource"`
	Source         netip.Addr `json:"source"`
	NDPFlags
	ReceivedNS int64 `json:"receivedNS"`
	VLAN       int   `json:"vlan,omitempty"`
}

// NDPTotals is End.Totals of the ndp instrument; its fields are as in ARPTotals.
type NDPTotals struct {
	Sent          int    `json:"sent"`
	SendErrors    int    `json:"sendErrors"`
	Replies       int    `json:"replies"`     // NDPReply records
	Unsolicited   int    `json:"unsolicited"` // NDPUnsolicited records
	Ignored       int    `json:"ignored"`
	Malformed     int    `json:"malformed"` // frames that no host may accept as a neighbour advertisement (RFC 4861 7.1.2)
	KernelPackets uint32 `json:"kernelPackets"`
	KernelDrops   uint32 `json:"kernelDrops"`
}
