// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package probe holds the wire types of the instruments: the JSON lines that
// lbprobe writes and that journal and judge read. It imports nothing but the
// standard library, so that a reader needs no instrument to read a record.
//
// Times are nanoseconds since the Unix epoch on the realtime clock of the host
// the instrument ran on; durations are nanoseconds. Enums are lower-case
// strings, and a reader must treat an unknown one as an unknown fact.
package probe

import (
	"encoding/json"
	"net/netip"
	"time"
)

// WireVersion is what Start.Version says. It grows when a reader written for an
// older version would misread a record, never for an added field.
const WireVersion = 1

// Record is one line an instrument writes. Seq counts from 1 without gaps
// within one instrument run; the last record is KindEnd and carries the total.
type Record struct {
	Seq  int64           `json:"seq"`
	Kind string          `json:"kind"`
	Time int64           `json:"time"` // ns since the Unix epoch, realtime clock, when the record was written
	Body json.RawMessage `json:"body"` // the type the kind names, below
}

// The kinds of record, and the type of each one's body.
const (
	KindStart         = "start"          // Start
	KindEnd           = "end"            // End
	KindARPProbe      = "arp.probe"      // ARPProbe
	KindARPReply      = "arp.reply"      // ARPReply
	KindARPGratuitous = "arp.gratuitous" // ARPGratuitous
	KindLoadBucket    = "load.bucket"    // LoadBucket
	KindLoadError     = "load.error"     // LoadError
	KindLoadHistogram = "load.histogram" // LoadHistogram
	KindLoadPeers     = "load.peers"     // LoadPeers
	KindCaptureFrame  = "capture.frame"  // CaptureFrame
)

// Why an instrument ended. Only ReasonDone says that all of the work asked for
// was done; an instrument without a count or duration never ends so, but for
// capture, whose work is to listen until its stdin ends.
const (
	ReasonDone        = "done"
	ReasonDeadline    = "deadline"
	ReasonStdinClosed = "stdin closed"
	ReasonCancelled   = "cancelled"
	ReasonError       = "error"
)

// Start is the body of the first record of a run.
type Start struct {
	Instrument  string          `json:"instrument"`          // "arp", "ndp", "load", "capture", "serve", "idle", "forward"
	Version     int             `json:"version"`             // WireVersion
	Args        json.RawMessage `json:"args,omitempty"`      // the instrument's own arguments: ARPArgs, LoadArgs, ServeArgs, ForwardArgs
	Host        string          `json:"host,omitempty"`      // the kernel's host name
	PID         int             `json:"pid,omitempty"`       // process id in its own pid namespace
	Interface   string          `json:"interface,omitempty"` // the interface measured on, when there is one
	MAC         string          `json:"mac,omitempty"`       // its hardware address, lower case with colons
	Address     string          `json:"address,omitempty"`   // arp: the address it asks from; serve, forward: host:port it listens on
	MonotonicNS int64           `json:"monotonicNS"`         // CLOCK_MONOTONIC at Record.Time, ns since boot: against End's, shows a stepped realtime clock
}

// End is the body of the last record of a run. A run without one is torn.
type End struct {
	Records     int64           `json:"records"`          // how many records the run wrote, this one included: equals its Seq
	Reason      string          `json:"reason"`           // one of the Reason constants
	Error       string          `json:"error,omitempty"`  // what went wrong, when Reason is ReasonError
	Totals      json.RawMessage `json:"totals,omitempty"` // ARPTotals, LoadTotals, CaptureTotals, ServeTotals, ForwardTotals
	MonotonicNS int64           `json:"monotonicNS"`      // CLOCK_MONOTONIC at Record.Time, ns since boot
}

// ARPArgs is Start.Args of the arp instrument.
type ARPArgs struct {
	Targets    []netip.Addr `json:"targets"`
	Count      int          `json:"count"`             // rounds; 0 is until stopped
	IntervalNS int64        `json:"intervalNS"`        // between two probes for one target, as MaxRate allows
	MaxRate    float64      `json:"maxRate,omitempty"` // frames per second at most; 0 is no limit
	SettleNS   int64        `json:"settleNS"`          // listening after the last probe
	ProbeMode  bool         `json:"probeMode"`         // RFC 5227: sender protocol address 0.0.0.0
}

// ARPProbe is one who-has that was sent, or failed to be.
type ARPProbe struct {
	Probe    int        `json:"probe"` // the round, from 0: counts without gaps for each target
	Target   netip.Addr `json:"target"`
	SentNS   int64      `json:"sentNS"`             // just before the send call
	KernelNS int64      `json:"kernelNS,omitempty"` // kernel send timestamp (SO_TIMESTAMPING, software): when the driver took the frame; 0 where it gives none
	Error    string     `json:"error,omitempty"`    // why it was not sent; empty when it was
}

// ARPReply is one answer to us: operation 2, for a monitored target, addressed to
// our hardware address.
type ARPReply struct {
	Probe          int        `json:"probe"`  // attributed: the latest probe for that target sent before arrival; -1 is none
	Target         netip.Addr `json:"target"` // sender protocol address: the address that is claimed
	SenderMAC      string     `json:"senderMAC"`
	EthernetSource string     `json:"ethernetSource"` // of the frame; differs from SenderMAC with proxies and spoofing
	SentNS         int64      `json:"sentNS"`         // of the attributed probe; 0 with Probe -1
	ReceivedNS     int64      `json:"receivedNS"`     // kernel receive timestamp (SO_TIMESTAMPNS)
	VLAN           int        `json:"vlan,omitempty"` // 1..4094 when the frame came tagged, 0 untagged
}

// ARPGratuitous is an announcement of a monitored target, never counted as a
// reply: a request with equal sender and target address (RFC 5227 2.3), or a
// reply, not addressed to us, that is broadcast or has equal sender and target address.
type ARPGratuitous struct {
	Op             string     `json:"op"` // "request" or "reply"
	Address        netip.Addr `json:"address"`
	SenderMAC      string     `json:"senderMAC"`
	EthernetSource string     `json:"ethernetSource"`
	ReceivedNS     int64      `json:"receivedNS"`     // kernel receive timestamp
	VLAN           int        `json:"vlan,omitempty"` // as in ARPReply
}

// ARPTotals is End.Totals of the arp instrument.
type ARPTotals struct {
	Sent          int    `json:"sent"`          // probes sent without error
	SendErrors    int    `json:"sendErrors"`    // probes that could not be sent
	Replies       int    `json:"replies"`       // ARPReply records
	Gratuitous    int    `json:"gratuitous"`    // ARPGratuitous records
	Ignored       int    `json:"ignored"`       // valid frames about something else: another target, or a reply to another host
	Malformed     int    `json:"malformed"`     // frames that are no valid ARP for IPv4 over Ethernet
	KernelPackets uint32 `json:"kernelPackets"` // PACKET_STATISTICS: frames that passed the filter: also dropped ones, and this host's own answers
	KernelDrops   uint32 `json:"kernelDrops"`   // PACKET_STATISTICS: frames lost because the socket buffer was full
}

// CaptureArgs is Start.Args of the capture instrument. It keeps every UDP datagram
// and every TCP segment with SYN from or to one of the addresses.
type CaptureArgs struct {
	Addresses []netip.Addr `json:"addresses"`
	SnapLen   int          `json:"snapLen"`            // bytes of a frame that are kept
	MaxBytes  int          `json:"maxBytes,omitempty"` // of all frames: the first half of it as they come, and the newest of the rest; 0 is no limit
}

// CaptureFrame is one frame, as the host sent or received it.
type CaptureFrame struct {
	AtNS     int64  `json:"atNS"`               // kernel timestamp (SO_TIMESTAMPNS)
	Outgoing bool   `json:"outgoing,omitempty"` // this host sent it
	Length   int    `json:"length"`             // of the whole frame, in bytes
	Data     []byte `json:"data"`               // its first CaptureArgs.SnapLen bytes, base64, from the Ethernet header on, without VLAN tag
}

// CaptureTotals is End.Totals of the capture instrument.
type CaptureTotals struct {
	Overwritten   int    `json:"overwritten,omitempty"` // frames of which no record was kept, for CaptureArgs.MaxBytes
	Frames        int    `json:"frames"`                // frames received; CaptureFrame records, and Overwritten
	KernelPackets uint32 `json:"kernelPackets"`         // PACKET_STATISTICS: frames that passed the filter, dropped ones included
	KernelDrops   uint32 `json:"kernelDrops"`           // PACKET_STATISTICS: frames lost because the socket buffer was full
}

// The modes of the load instrument.
const (
	ModeTCPConnect    = "tcp-connect"    // the handshake only, then reset
	ModeHTTPNew       = "http-new"       // a new connection for each request
	ModeHTTPKeepalive = "http-keepalive" // a kept-alive connection; a new one only when all are busy or dead
	ModeUDPEcho       = "udp-echo"       // one datagram from a new port, one answer
)

// LoadArgs is Start.Args of the load instrument.
type LoadArgs struct {
	Mode         string       `json:"mode"`
	Targets      []LoadTarget `json:"targets"`      // request i goes to target i mod len
	Rate         float64      `json:"rate"`         // requests per second over all targets together
	Count        int64        `json:"count"`        // requests over all targets; 0 is until stopped
	Warmup       int64        `json:"warmup"`       // the first requests, kept out of the histograms
	TimeoutNS    int64        `json:"timeoutNS"`    // of one request, from its send, and of its wait for a turn
	LateNS       int64        `json:"lateNS"`       // a request sent later than this after it was due is late
	MaxInFlight  int          `json:"maxInFlight"`  // a request due with this many unfinished is dropped
	Connections  int          `json:"connections"`  // requests at the same time; others wait their turn. 0: as many as MaxInFlight
	PayloadBytes int          `json:"payloadBytes"` // of an udp-echo datagram
	Source       string       `json:"source,omitempty"`
	StartNS      int64        `json:"startNS"`  // when request 0 was due
	BucketMS     int          `json:"bucketMS"` // width of a LoadBucket
	LoadShape
}

// LoadTarget is one address under load.
type LoadTarget struct {
	Name    string `json:"name"`
	Address string `json:"address"` // host:port
}

// LoadBucket sums up the requests to one target that were due in one span of
// time. Requests = OK + Errors + Dropped + those cancelled at the end of the run.
// Buckets without a request are not written.
type LoadBucket struct {
	Target        string `json:"target"`
	StartNS       int64  `json:"startNS"` // of the span; spans are counted from the run's first due time
	WidthMS       int    `json:"widthMS"`
	Requests      int    `json:"requests"` // due in the span, warm-up included
	OK            int    `json:"ok"`
	Errors        int    `json:"errors"`  // each one is a LoadError too
	Late          int    `json:"late"`    // sent more than LoadArgs.LateNS after they were due; also counted in OK or Errors
	Dropped       int    `json:"dropped"` // never sent: LoadArgs.MaxInFlight was reached
	FirstOKNS     int64  `json:"firstOKNS,omitempty"`
	LastOKNS      int64  `json:"lastOKNS,omitempty"`      // when the span's first and last success ended (which may be after the span); 0 without one
	MaxResponseNS int64  `json:"maxResponseNS,omitempty"` // the longest success, from its due time
}

// What kind of error ended a request.
const (
	ErrorTimeout     = "timeout"      // no answer in time, or ETIMEDOUT
	ErrorRefused     = "refused"      // ECONNREFUSED: RST to a SYN, or ICMP port unreachable
	ErrorReset       = "reset"        // the peer ended the connection before the whole answer: RST, EPIPE or FIN
	ErrorUnreachable = "unreachable"  // no route, or ICMP or ARP says so: EHOSTUNREACH, ENETUNREACH, EHOSTDOWN, ENETDOWN
	ErrorBadResponse = "bad-response" // an answer that is not what serve answers
	ErrorOther       = "other"
)

// LoadError is one failed request, in full.
type LoadError struct {
	Target    string `json:"target"`
	Request   int64  `json:"request"` // from 0, over all targets
	DueNS     int64  `json:"dueNS"`
	EndNS     int64  `json:"endNS"`
	ErrorKind string `json:"errorKind"` // one of the Error constants
	Message   string `json:"message"`
	Peer      string `json:"peer,omitempty"`   // the address asked, host:port
	Local     string `json:"local,omitempty"`  // our own address of that connection, when there was one
	Warmup    bool   `json:"warmup,omitempty"` // one of the warm-up requests
}

// The histograms of the load instrument.
const (
	HistogramResponse = "response" // from the due time: free of coordinated omission
	HistogramService  = "service"  // from the actual send
)

// LoadHistogram holds the latency of the successful requests to one target,
// warm-up excluded. Percentiles are within 0.1 %, Min, Max and Mean exact.
type LoadHistogram struct {
	Target string `json:"target"`
	Name   string `json:"name"` // HistogramResponse, HistogramService or HistogramLateness
	Unit   string `json:"unit"` // "ns"
	HDR    string `json:"hdr"`  // HdrHistogram V2 compressed, base64; merge these, never the percentiles
	Count  int64  `json:"count"`
	P50    int64  `json:"p50"`
	P90    int64  `json:"p90"`
	P99    int64  `json:"p99"`
	P999   int64  `json:"p999"`
	Max    int64  `json:"max"`
	Min    int64  `json:"min"`
	Mean   int64  `json:"mean"`
}

// LoadPeers says who answered one target's requests, warm-up included, and whom
// they saw asking. Empty in mode tcp-connect, where nobody says.
type LoadPeers struct {
	Target   string                  `json:"target"`
	Backends map[string]BackendCount `json:"backends"` // by pod name, or host name where a backend has no pod
}

// BackendCount is one backend's share.
type BackendCount struct {
	Pod       string         `json:"pod"`
	Node      string         `json:"node"`
	Protocol  string         `json:"protocol"` // "http" or "udp"
	Responses int            `json:"responses"`
	Peers     map[string]int `json:"peers"` // the client address (without port) the backend saw -> responses
}

// LoadTotals is End.Totals of the load instrument, and of each target within it.
// Scheduled = Completed + Dropped + Cancelled, and Completed = OK + Errors.
type LoadTotals struct {
	Scheduled      int64                 `json:"scheduled"` // requests that fell due
	Completed      int64                 `json:"completed"` // that were answered or failed
	OK             int64                 `json:"ok"`
	Errors         int64                 `json:"errors"`
	Late           int64                 `json:"late"`
	Dropped        int64                 `json:"dropped"`
	Cancelled      int64                 `json:"cancelled"`            // unfinished when the run was ended from outside
	ErrorKinds     map[string]int64      `json:"errorKinds,omitempty"` // by LoadError.ErrorKind
	WarmupExcluded int64                 `json:"warmupExcluded"`       // successes kept out of the histograms
	Targets        map[string]LoadTotals `json:"targets,omitempty"`    // by target name; nil within one
	StealRatio     float64               `json:"stealRatio,omitempty"` // of the machine's CPU time during the run, 0 to 1, that its hypervisor gave to others; not within a target
}

// Unsent says that the client left requests unsent although none that it sent failed: it, and
// not what it asked, was too slow. Where requests fail too the answers may be what it waited for.
func (t LoadTotals) Unsent() bool { return t.Dropped+t.Cancelled > 0 && t.Errors == 0 }

// Behind says that the client did not keep its schedule for one of its targets: it left
// requests unsent, or sent more than the share lateShare of them late.
func (t LoadTotals) Behind(lateShare float64) bool {
	if t.Dropped > 0 || float64(t.Late) > lateShare*float64(t.Scheduled) {
		return true
	}
	for _, target := range t.Targets {
		if target.Behind(lateShare) {
			return true
		}
	}
	return false
}

// ServeArgs is Start.Args of the backend. An empty address is a protocol not served.
type ServeArgs struct {
	HTTP string `json:"http,omitempty"` // host:port, as bound
	TCP  string `json:"tcp,omitempty"`
	UDP  string `json:"udp,omitempty"`
	Pod  string `json:"pod,omitempty"`
	Node string `json:"node,omitempty"`
}

// ServeTotals is End.Totals of the backend.
type ServeTotals struct {
	HTTP int64 `json:"http"` // requests for the identity
	TCP  int64 `json:"tcp"`  // connections
	UDP  int64 `json:"udp"`  // datagrams answered
}

// Identity is what the backend answers: the body of GET /, the first line of a
// TCP echo, the answer to a datagram.
type Identity struct {
	Pod      string    `json:"pod"`            // environment POD_NAME
	Node     string    `json:"node"`           // environment NODE_NAME
	Host     string    `json:"host"`           // the kernel's host name
	Protocol string    `json:"protocol"`       // "http", "tcp" or "udp"
	Peer     string    `json:"peer"`           // the client's address and port as the backend sees them
	Local    string    `json:"local"`          // the address and port the backend was reached at, where known
	Time     time.Time `json:"time"`           // the backend's clock
	Length   int       `json:"length"`         // udp: payload bytes received; else 0
	Path     string    `json:"path,omitempty"` // http: the path asked for
}

// ForwardArgs is Start.Args of the forwarder.
type ForwardArgs struct {
	Listen string `json:"listen"`
	To     string `json:"to"`
}

// ForwardTotals is End.Totals of the forwarder.
type ForwardTotals struct {
	Connections int64 `json:"connections"`
	DialErrors  int64 `json:"dialErrors"`
	BytesIn     int64 `json:"bytesIn"`  // from the client
	BytesOut    int64 `json:"bytesOut"` // to the client
}
