// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package probe

import "net/netip"

// The records of the watch instrument. Announcements are KindARPGratuitous and
// KindNDPUnsolicited records, and the latency of each kind of traffic a KindLoadHistogram whose Target is that traffic.
const (
	KindWatchBucket     = "watch.bucket"     // WatchBucket
	KindWatchProbe      = "watch.probe"      // WatchProbe
	KindWatchConnection = "watch.connection" // WatchConnection
	KindWatchResponder  = "watch.responder"  // WatchResponder
)

// The kinds of traffic that watch sends side by side.
const (
	TrafficNew  = "new"  // a new connection for each probe
	TrafficLong = "long" // sequence numbers on one connection, for as long as that lives
	TrafficUDP  = "udp"  // one datagram and its answer, from a new port
	TrafficARP  = "arp"  // one broadcast who-has
	TrafficNDP  = "ndp"  // nothing is sent: who answers others for an IPv6 address
)

// ErrorUnanswered is an ARP probe's only kind of error: nobody answered it, nor any of
// its neighbours within the grace.
const ErrorUnanswered = "unanswered"

// WatchArgs is Start.Args of the watch instrument.
type WatchArgs struct {
	Traffic    []WatchTraffic `json:"traffic"`
	Recovered  int            `json:"recovered"`  // an outage ends with the first of this many successes
	DurationNS int64          `json:"durationNS"` // 0: until stopped
	BucketMS   int            `json:"bucketMS"`
	Realtime   bool           `json:"realtime,omitempty"` // as in LoadShape
	StartNS    int64          `json:"startNS"`            // when the first probe of each kind was due
}

// WatchTraffic is one kind of traffic.
type WatchTraffic struct {
	Traffic    string     `json:"traffic"`             // one of the Traffic constants
	Mode       string     `json:"mode,omitempty"`      // new: ModeTCPConnect or ModeHTTPNew
	Target     string     `json:"target"`              // host:port; arp, ndp: the VIP
	IntervalNS int64      `json:"intervalNS"`          // between two probes
	TimeoutNS  int64      `json:"timeoutNS"`           // of one probe, from its send; arp, ndp: the grace below
	Interface  string     `json:"interface,omitempty"` // arp, ndp
	MAC        string     `json:"mac,omitempty"`       // arp: the sender's, which need not be the interface's
	Source     netip.Addr `json:"source,omitzero"`     // arp: the sender protocol address; 0.0.0.0 touches nobody's cache
	Passive    bool       `json:"passive,omitempty"`   // only listen: arp if asked to, ndp always
}

// WatchBucket sums up the probes of one kind that were due in one span of time.
// Probes = OK + Failed + Dropped.
type WatchBucket struct {
	Traffic       string         `json:"traffic"`
	StartNS       int64          `json:"startNS"`
	WidthMS       int            `json:"widthMS"`
	Probes        int            `json:"probes"`
	OK            int            `json:"ok"`
	Failed        int            `json:"failed"`
	Dropped       int            `json:"dropped,omitempty"` // not sent: too many unfinished
	Late          int            `json:"late,omitempty"`    // sent more than 1 ms after they were due; also in OK or Failed
	MaxResponseNS int64          `json:"maxResponseNS,omitempty"`
	Backends      map[string]int `json:"backends,omitempty"` // who answered; arp: which MAC -> probes
}

// WatchProbe is one probe in full. Each failed or dropped one is written, with the
// success before it and as many successes after it as end an outage. They are in the
// order of their numbers within their traffic; what lies between two records succeeded.
type WatchProbe struct {
	Traffic   string `json:"traffic"`
	Probe     int64  `json:"probe"` // from 0
	OK        bool   `json:"ok"`
	Dropped   bool   `json:"dropped,omitempty"` // not sent: says nothing about the target
	DueNS     int64  `json:"dueNS"`
	SentNS    int64  `json:"sentNS,omitempty"`
	EndNS     int64  `json:"endNS,omitempty"`
	ErrorKind string `json:"errorKind,omitempty"` // an Error constant
	Message   string `json:"message,omitempty"`
	Backend   string `json:"backend,omitempty"` // who answered: the pod, or its host; arp: the MAC
	Local     string `json:"local,omitempty"`   // our own address of the connection
}

// WatchConnection is a change of the long-lived connection.
type WatchConnection struct {
	Event     string `json:"event"` // "open" or "lost"
	AtNS      int64  `json:"atNS"`
	Local     string `json:"local,omitempty"`
	Backend   string `json:"backend,omitempty"`
	Answered  int64  `json:"answered,omitempty"`  // lost: probes that came back on it
	ErrorKind string `json:"errorKind,omitempty"` // lost: an Error constant
	Message   string `json:"message,omitempty"`
}

// WatchResponder is a row of answers of one responder, during which no other answered
// and no gap was longer than the grace. It is written when the row ends, and once a
// second. Rows of several responders that interleave are an overlap.
type WatchResponder struct {
	VIP            netip.Addr `json:"vip"`
	MAC            string     `json:"mac"`            // sender hardware address; ndp: target link-layer address
	EthernetSource string     `json:"ethernetSource"` // of the frame
	VLAN           int        `json:"vlan,omitempty"`
	FirstProbe     int64      `json:"firstProbe"` // the latest probe sent before the first answer; -1: none
	LastProbe      int64      `json:"lastProbe"`
	FirstNS        int64      `json:"firstNS"` // kernel receive timestamp of the first answer
	LastNS         int64      `json:"lastNS"`
	Replies        int        `json:"replies"`
}

// WatchTotals is End.Totals of the watch instrument.
type WatchTotals struct {
	Traffic       map[string]WatchCounts `json:"traffic"`
	Responders    int                    `json:"responders"`              // WatchResponder records
	Gratuitous    int                    `json:"gratuitous"`              // ARPGratuitous records
	Unsolicited   int                    `json:"unsolicited,omitempty"`   // NDPUnsolicited records
	KernelPackets uint32                 `json:"kernelPackets,omitempty"` // arp and ndp: PACKET_STATISTICS
	KernelDrops   uint32                 `json:"kernelDrops,omitempty"`
	StealRatio    float64                `json:"stealRatio,omitempty"` // as in LoadTotals
}

// WatchCounts counts the probes of one kind of traffic.
type WatchCounts struct {
	Probes  int64 `json:"probes"` // that fell due, and ended before the run did
	OK      int64 `json:"ok"`
	Failed  int64 `json:"failed"`
	Dropped int64 `json:"dropped"`
	Late    int64 `json:"late"`
}
