// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package journal keeps the raw facts of one scenario: an append-only file of
// numbered JSON lines, and a reader that survives a torn last line.
//
// A journal holds what was seen, never what it means: verdicts are computed from
// it by package judge, as often as one likes. So that lost data cannot pass, every
// line carries a sequence number, every observation opens and closes with records
// of its own, and every instrument ends with a record of totals.
package journal

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// Version is the journal's format; a reader refuses others.
const Version = 1

// The kinds of records the harness itself writes. Instrument lines are kept as they
// came, as the body of a KindInstrument record.
const (
	KindHeader           = "header"
	KindStepBegin        = "step.begin"
	KindStepEnd          = "step.end"
	KindTopology         = "topology"
	KindPhaseBegin       = "phase.begin"
	KindPhaseEnd         = "phase.end"
	KindObservationBegin = "observation.begin"
	KindObservationEnd   = "observation.end"
	KindInstrument       = "instrument"
	KindNodeProof        = "node.proof"
	KindObjects          = "objects"
	KindSpeakerMetrics   = "speaker.metrics"
	KindPaths            = "paths"
	KindFault            = "fault"
	KindSettle           = "settle"
	KindNote             = "note"
	KindUnsupported      = "unsupported"
	KindEnd              = "end"
)

// Record is one line. Seq counts from 1 without gaps within a file.
type Record struct {
	Seq         int64           `json:"seq"`
	Time        time.Time       `json:"time"`                  // realtime clock
	Mono        int64           `json:"mono"`                  // ns since the journal was opened, monotonic clock
	Phase       string          `json:"phase,omitempty"`       // see Phase names below
	Observation string          `json:"observation,omitempty"` // observation the record belongs to
	Stream      string          `json:"stream,omitempty"`      // one run of one instrument within an observation
	Kind        string          `json:"kind"`
	Body        json.RawMessage `json:"body,omitempty"`
}

// PhaseBaseline is the healthy cluster before anything was done to it. A mutation m
// runs in phase "mutation/m", and the baseline is proved again in "restored/m".
const PhaseBaseline = "baseline"

// What the names of a mutation's two phases begin with.
const (
	PrefixMutation = "mutation/"
	PrefixRestored = "restored/"
)

// MutationPhase names the phase in which a fault is there.
func MutationPhase(name string) string { return PrefixMutation + name }

// RestoredPhase names the phase that proves the baseline again after a mutation.
func RestoredPhase(name string) string { return PrefixRestored + name }

// Header opens a journal: what was asked for, by whom it will be judged, and what ran it.
type Header struct {
	Format         int               `json:"format"`
	Scenario       string            `json:"scenario"`
	ScenarioDigest string            `json:"scenarioDigest"` // sha256 of the scenario as resolved, hex
	Spec           json.RawMessage   `json:"spec"`           // the resolved scenario (defaults filled in)
	Phases         []PlannedPhase    `json:"phases"`         // what is to be judged, in order
	Versions       map[string]string `json:"versions"`       // lbmatrix, kubernetes, components, kernel
	Where          string            `json:"where"`          // host, or guest
	// Machine is the guest it ran in; nil on the host, which run.json describes.
	Machine *Machine `json:"machine,omitempty"`
	// Provider made the cluster: kind, or netns. Empty in journals older than the second one.
	Provider string `json:"provider,omitempty"`
	Clock    Clock  `json:"clock"`
}

// PlannedPhase says which checks a phase is judged by and what they are expected to say.
type PlannedPhase struct {
	Name   string   `json:"name"`
	Checks []string `json:"checks"`
	Expect []Expect `json:"expect,omitempty"` // of a known-bad: a mutation, or a scenario as a whole
	// Skipped is why the phase is left out, by the user's choice; "" where it runs.
	Skipped string `json:"skipped,omitempty"`
}

// Expect is an expected catch; see scenario.Expectation.
type Expect struct {
	Check        string   `json:"check"`
	Code         string   `json:"code"`
	Consequences []string `json:"consequences,omitempty"`
}

// Clock relates the two clocks at the moment the journal was opened.
type Clock struct {
	Realtime  int64 `json:"realtime"`  // ns since the Unix epoch
	Monotonic int64 `json:"monotonic"` // CLOCK_MONOTONIC, ns
}

// Step is the body of step records.
type Step struct {
	Name      string `json:"name"`
	ElapsedMS int64  `json:"elapsedMS,omitempty"` // in step.end
	Error     string `json:"error,omitempty"`     // in step.end
}

// Topology says who is who on the segment.
type Topology struct {
	Subnet   string `json:"subnet"` // CIDR
	Gateway  string `json:"gateway,omitempty"`
	Pool     string `json:"pool"` // first-last of the VIP range
	Nodes    []Node `json:"nodes"`
	Client   Member `json:"client"`
	Observer Member `json:"observer"`
}

// Member is a host on the segment.
type Member struct {
	Name    string `json:"name"`
	Address string `json:"address"` // on the segment
	MAC     string `json:"mac"`     // lower-case, colon separated
	// Address6 is its IPv6 address on the segment, where that has IPv6; not the link-local one.
	Address6 string `json:"address6,omitempty"`
}

// Node is a cluster node on the segment.
type Node struct {
	Member
	ControlPlane   bool     `json:"controlPlane"`
	ExcludedFromLB bool     `json:"excludedFromLB"` // carries node.kubernetes.io/exclude-from-external-load-balancers
	Interface      string   `json:"interface"`      // on the segment
	PodCIDR        string   `json:"podCIDR,omitempty"`
	OtherAddresses []string `json:"otherAddresses,omitempty"` // every other address of the node outside loopback, pod gateways among them
}

// ObservationBegin opens an observation. Streams that the observation starts are
// announced here or by their first instrument record.
type ObservationBegin struct {
	ID string `json:"id"`
}

// ObservationEnd closes an observation. Records counts every record of the
// observation, this one and its begin included.
type ObservationEnd struct {
	ID      string   `json:"id"`
	Records int64    `json:"records"`
	Streams []string `json:"streams,omitempty"` // every instrument run that was started
	Error   string   `json:"error,omitempty"`   // the harness could not finish it
}

// NodeProof is what a node said of its data plane, as raw text. An entry of
// Errors says why a body is missing.
type NodeProof struct {
	Node      string `json:"node"`
	ProxyMode string `json:"proxyMode"` // body of GET 127.0.0.1:10249/proxyMode
	// ProxyConfig is the body of GET 127.0.0.1:10249/configz: what kube-proxy was told. It
	// is read where ipvs is to run.
	ProxyConfig string            `json:"proxyConfig,omitempty"`
	Sysctls     map[string]string `json:"sysctls"` // net.ipv4.ip_forward, net.ipv4.conf.all.arp_ignore, ...
	Rules       map[string]string `json:"rules"`   // iptables, nftables, ipvs: the lines that name a VIP or the service chains
	Links       []string          `json:"links"`   // names of the node's links
	Pods        []string          `json:"pods"`    // names of the proxy pods that run on it: kube-proxy's and Cilium's agents
	Cilium      *CiliumProof      `json:"cilium,omitempty"`
	Errors      map[string]string `json:"errors,omitempty"`
}

// CiliumProof is what a node's Cilium agent said, as raw text.
type CiliumProof struct {
	// Replacement is the part kube-proxy-replacement of `cilium-dbg status -o json`.
	Replacement json.RawMessage `json:"replacement"`
	// Frontends are the load-balancer entries of `cilium-dbg bpf lb list -o json`, by
	// the address they are for.
	Frontends map[string][]string `json:"frontends"`
}

// Objects is what the API server said of everything that concerns the announcement.
type Objects struct {
	Services         []Service         `json:"services"`
	Pools            []Pool            `json:"pools"`
	L2Advertisements []L2Advertisement `json:"l2Advertisements"`
	L2Statuses       []L2Status        `json:"l2Statuses"`
	// NoL2Statuses says that the API server has no such kind: MetalLB before 0.14.2.
	NoL2Statuses bool      `json:"noL2Statuses,omitempty"`
	Events       []Event   `json:"events"`
	Backends     []Backend `json:"backends"` // ready endpoints
}

// Service is one LoadBalancer Service under test.
type Service struct {
	Name                  string `json:"name"`
	Namespace             string `json:"namespace"`
	ExternalTrafficPolicy string `json:"externalTrafficPolicy"` // Cluster or Local
	VIP                   string `json:"vip"`                   // "" while none is assigned
	Port                  int    `json:"port"`
	NodePort              int    `json:"nodePort"`
	UDPPort               int    `json:"udpPort,omitempty"`
	SessionAffinity       string `json:"sessionAffinity,omitempty"` // None or ClientIP
	HealthCheckNodePort   int    `json:"healthCheckNodePort,omitempty"`
	// BackendsOffAnnouncer says that its endpoints are kept off the node that announces it.
	BackendsOffAnnouncer bool `json:"backendsOffAnnouncer,omitempty"`
	// Role is what it is for where its traffic policy does not say: one of the Role constants.
	Role string `json:"role,omitempty"`
}

// What a Service under test is for, beside those that its traffic policy tells.
const (
	RoleNear   = "near"   // its endpoints are kept on the node that announces it
	RoleSticky = "sticky" // session affinity ClientIP
	RoleIdle   = "idle"   // policy Local without an endpoint: nobody may announce it
)

// Pool is an IPAddressPool.
type Pool struct {
	Name      string            `json:"name"`
	Addresses []string          `json:"addresses"`
	Labels    map[string]string `json:"labels,omitempty"`
}

// L2Advertisement is an L2Advertisement's part that decides which pools it covers.
type L2Advertisement struct {
	Name          string          `json:"name"`
	Pools         []string        `json:"pools"` // empty: all pools
	PoolSelectors json.RawMessage `json:"poolSelectors,omitempty"`
	NodeSelectors json.RawMessage `json:"nodeSelectors,omitempty"`
	Interfaces    []string        `json:"interfaces,omitempty"`
}

// L2Status is a ServiceL2Status: which node MetalLB says announces a Service.
type L2Status struct {
	Service    string   `json:"service"`
	Namespace  string   `json:"namespace"`
	Node       string   `json:"node"`
	Interfaces []string `json:"interfaces,omitempty"`
}

// Event is a nodeAssigned (or other announcement) event on a Service under test.
type Event struct {
	Service string    `json:"service"`
	Reason  string    `json:"reason"`
	Message string    `json:"message"`
	Count   int       `json:"count"`
	Last    time.Time `json:"last"`
}

// Backend is one ready endpoint.
type Backend struct {
	Service string `json:"service"`
	Pod     string `json:"pod"`
	Node    string `json:"node"`
	Address string `json:"address"`
}

// SpeakerMetrics is the raw text of one speaker's announcement metrics
// (metallb_speaker_announced, metallb_layer2_*), or why there is none.
type SpeakerMetrics struct {
	Node  string `json:"node"`
	Text  string `json:"text"`
	Error string `json:"error,omitempty"`
}

// Paths says what an observation's targets are: target name to service and kind.
type Paths struct {
	Targets []Target `json:"targets"`
	// Discarded names the load runs that were made again because the client itself
	// could not keep its schedule (MaxLateShare, or requests it never sent). A judge holds
	// each of them to that: none may be discarded for what it measured.
	Discarded []string `json:"discarded,omitempty"`
	// Unmeasured says that a path had no measure to be held against, and who answered.
	Unmeasured *Unmeasured `json:"unmeasured,omitempty"`
}

// Unmeasured is a VIP ("" where none is assigned) that no single node announced when a
// measurement was to begin.
type Unmeasured struct {
	Service    string   `json:"service"`
	VIP        string   `json:"vip,omitempty"`
	AnsweredBy []string `json:"answeredBy,omitempty"` // MACs
}

// MaxLateShare is the share of late requests to one target above which a client has
// measured its own delay: the median may be it.
const MaxLateShare = 0.5

// LatencyAttempts is how often a latency run is made, at most, until the client has kept
// its schedule.
const LatencyAttempts = 5

// AttemptStream names attempt n (from 1) at a load run; BaseStream takes that back.
func AttemptStream(stream string, n int) string {
	if n == 1 {
		return stream
	}
	return stream + "." + strconv.Itoa(n)
}

// BaseStream is the stream that AttemptStream was given.
func BaseStream(stream string) string {
	base, _, _ := strings.Cut(stream, ".")
	return base
}

// Target is one destination an instrument was pointed at.
type Target struct {
	Name     string `json:"name"`               // as in the instrument's records
	Service  string `json:"service,omitempty"`  // Service under test it stands for
	Kind     string `json:"kind"`               // one of the Target constants
	Address  string `json:"address"`            // ip or ip:port
	Protocol string `json:"protocol,omitempty"` // tcp, http, udp
	Node     string `json:"node,omitempty"`     // for nodeport and node-address; in-cluster: where the client is
	From     string `json:"from,omitempty"`     // in-cluster: FromPod or FromNode
	Pod      string `json:"pod,omitempty"`      // in-cluster: the pod that the client shares a network with
	Bytes    int    `json:"bytes,omitempty"`    // of the payload of one exchange
	Stream   string `json:"stream"`             // instrument run it belongs to
}

// Settle is how the segment came to rest before a phase was observed, as short sweeps
// saw it: who answered for each VIP, and for how long without a change.
type Settle struct {
	WantedMS int64          `json:"wantedMS"` // how long the answers had to be the same
	StableMS int64          `json:"stableMS"` // how long they were, when the wait ended
	Stable   bool           `json:"stable"`   // they were as wanted for as long as wanted
	Seen     []SettleChange `json:"seen"`     // each change, the first sweep's answers included
}

// SettleChange is what one sweep saw that differed from the one before.
type SettleChange struct {
	AtMS       int64               `json:"atMS"`       // since the wait began, when the sweep was started
	Responders map[string][]string `json:"responders"` // VIP -> MACs
}

// Fault records that something was broken or restored, and how that was verified.
type Fault struct {
	Name   string `json:"name"`
	Action string `json:"action"` // one of the actions below
	Detail string `json:"detail,omitempty"`
	Error  string `json:"error,omitempty"`
}

// The actions of a fault.
const (
	FaultApply  = "apply"
	FaultVerify = "verify" // it was seen to be there (mutation) or gone (restored)
	FaultUndo   = "undo"
	// FaultRefuse is a fault that was not applied: on a segment that is not healthy
	// nothing could be learned from it. Nothing was observed in its phases.
	FaultRefuse = "refuse"
)

// Unsupported says why a scenario cannot run here and how it could.
type Unsupported struct {
	Missing []string `json:"missing"`
	Fix     string   `json:"fix"`
}

// End closes a journal. Records counts every line, this one included.
type End struct {
	Records int64  `json:"records"`
	Reason  string `json:"reason"` // one of the Reason constants
	Error   string `json:"error,omitempty"`
}

// Why a journal ended.
const (
	ReasonDone        = "done"
	ReasonFailed      = "failed"
	ReasonInterrupted = "interrupted"
)

// The observations of the catalogue. A check names those it needs.
const (
	ObsNodes        = "nodes"        // proof of the data plane on every node
	ObsAnnouncement = "announcement" // what the API server and the speakers say of the announcement
	ObsARP          = "arp-sweep"    // broadcast who-has for every VIP and control address
	ObsMore         = "more-vips"    // broadcast who-has for the VIPs of Services beside those under test
	ObsNDP          = "ndp-sweep"    // neighbour solicitations for the IPv6 VIP and control addresses
	ObsTraffic6     = "traffic-ipv6" // new HTTP connections to the IPv6 VIP
	ObsTraffic      = "traffic"      // new HTTP connections to every VIP
	ObsLatency      = "latency"      // VIP and NodePort path, measured alternately
	ObsReplyPath    = "reply-path"   // frames of connections to the VIP whose backends are off the announcer
	ObsUDP          = "udp"          // datagrams to VIPs
	ObsPayloads     = "payloads"     // large datagrams and responses through the VIP whose backends are off the announcer
	ObsInCluster    = "in-cluster"   // new HTTP connections to VIPs from nodes and pods
	ObsTakeover     = "takeover"     // broadcast who-has, and announcements, while VIPs change hands
	ObsThroughput   = "throughput"   // large responses through VIP and NodePort, in turns
)

// The instrument runs of those observations.
const (
	StreamARP      = "arp"
	StreamNDP      = "ndp"
	StreamHTTP6    = "http-new-ipv6"
	StreamHTTP     = "http-new"
	StreamConnect  = "tcp-connect"
	StreamRequest  = "http-request"
	StreamCapture  = "capture"
	StreamReplyTCP = "reply-tcp"
	StreamReplyUDP = "reply-udp"
	StreamUDP      = "udp" // and @SERVICE
	StreamPayloads = "payloads"
	StreamBulk     = "bulk"
	StreamTakeover = "takeover"
)

// Where the client of an in-cluster run is. Its stream is named FROM@NODE.
const (
	FromPod  = "pod"
	FromNode = "node"
)

// The kinds of target.
const (
	TargetVIP         = "vip"
	TargetNodePort    = "nodeport"
	TargetNodeAddress = "node-address" // positive control: answered by its node
	TargetUnassigned  = "unassigned"   // negative control: nobody's address, outside the pool
	TargetSpare       = "spare"        // an address of the pool that no Service was given
	TargetIdle        = "idle"         // the address of a Service that nobody may announce
)
