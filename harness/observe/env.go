// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package observe gathers the facts of a scenario: each observation drives
// instruments, asks nodes and the API server, and writes what it got to the journal.
// It never decides what a fact means; package judge does.
package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/pace"
	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// Env is what observations work with.
type Env struct {
	Scenario *scenario.Scenario
	Journal  *journal.Writer
	Cluster  cluster.Cluster
	Kube     kubernetes.Interface
	Dynamic  dynamic.Interface
	// Namespace holds the Services under test and their backends.
	Namespace string
	// Remote is the Service whose backends are kept off the node that announces it.
	Remote string
	// Roles says what each other Service is for that its traffic policy does not tell, by name.
	Roles map[string]string
	// More begins the names of Services that are there beside those under test: observations
	// other than the one that is about them pass them over. "" passes over none.
	More string
	// Six names the Service with an IPv6 VIP, which has observations of its own. It need not be there.
	Six string
	// MetalLB is the namespace of the speakers.
	MetalLB  string
	Topology journal.Topology
	// Unassigned is nobody's address on the segment: an ARP sweep's negative control.
	Unassigned netip.Addr
	// Dir is the scenario's folder: captures land there, for people.
	Dir string
	// Probe is the path of lbprobe on the client and the observer.
	Probe string
	// NodeProbe is the path of lbprobe on the nodes.
	NodeProbe string
	// Progress tells of what takes long.
	Progress func(message string)

	settled *journal.Settle     // how the segment came to rest; nil where nobody has waited for that
	rest    map[string][]string // who answered when it last did, by VIP; nil where it did not
}

// Observation gathers facts of one kind.
type Observation struct {
	ID  string
	Run func(context.Context, *Env, *journal.Observation) error
}

// Observations returns the catalogue.
func Observations() []Observation {
	return []Observation{
		{ID: journal.ObsNodes, Run: observeNodes},
		{ID: journal.ObsAnnouncement, Run: observeAnnouncement},
		{ID: journal.ObsARP, Run: observeARP},
		{ID: journal.ObsMore, Run: observeMore},
		{ID: journal.ObsNDP, Run: observeNDP},
		{ID: journal.ObsTraffic6, Run: observeTraffic6},
		{ID: journal.ObsTraffic, Run: observeTraffic},
		{ID: journal.ObsReplyPath, Run: observeReplyPath},
		{ID: journal.ObsUDP, Run: observeUDP},
		{ID: journal.ObsPayloads, Run: observePayloads},
		{ID: journal.ObsInCluster, Run: observeInCluster},
		{ID: journal.ObsLatency, Run: observeLatency},
		{ID: journal.ObsThroughput, Run: observeThroughput},
	}
}

// Run makes one observation and journals it. A failure to observe is written into the
// journal, where it makes the checks that need it broken; the error that is
// returned is only of the journal itself, or of ctx.
func Run(ctx context.Context, e *Env, id string) error {
	for _, o := range Observations() {
		if o.ID != id {
			continue
		}
		open, err := e.Journal.Begin(id)
		if err != nil {
			return err
		}
		cause := o.Run(ctx, e, open)
		if err := open.End(cause); err != nil {
			return err
		}
		return ctx.Err()
	}
	return fmt.Errorf("observe: no observation %s", id)
}

// instrument runs lbprobe on a host with its lines going to a stream of o, and returns
// what its end record says. The instrument gets longer than its work needs and then is
// stopped.
func (e *Env) instrument(ctx context.Context, o *journal.Observation, h cluster.Host, stream string, work time.Duration, args ...string) (probe.End, error) {
	return e.start(ctx, o, h, program{path: e.Probe}, stream, work, args...)
}

// program is how lbprobe is started on a host; its own arguments follow.
type program struct {
	path string
	args []string
}

// start is instrument with a program of the caller's.
func (e *Env) start(ctx context.Context, o *journal.Observation, h cluster.Host, p program, stream string, work time.Duration, args ...string) (probe.End, error) {
	slack := pace.Scale(ctx, instrumentSlack)
	limit := work + slack
	ctx, cancel := context.WithTimeout(ctx, limit+slack)
	defer cancel()
	stdin, closeStdin, err := openStdin()
	if err != nil {
		return probe.End{}, err
	}
	defer closeStdin()
	var stderr tail
	var last lastLine
	err = h.Run(ctx, cluster.Command{
		Path: p.path, Args: slices.Concat(p.args, args, []string{"--deadline", limit.String()}),
		Stdin: stdin, Stdout: io.MultiWriter(o.Stream(stream), &last), Stderr: &stderr,
	})
	if err != nil {
		return probe.End{}, fmt.Errorf("run instrument %s on %s: %w%s", stream, h.Name(), err, stderr.said())
	}
	end, err := last.end()
	if err != nil {
		return end, fmt.Errorf("run instrument %s on %s: %w", stream, h.Name(), err)
	}
	return end, nil
}

// lastLine keeps the last whole line of what was written to it.
type lastLine struct{ whole, open []byte }

func (l *lastLine) Write(p []byte) (int, error) {
	l.open = append(l.open, p...)
	if i := bytes.LastIndexByte(l.open, '\n'); i >= 0 {
		l.whole = bytes.Clone(l.open[bytes.LastIndexByte(l.open[:i], '\n')+1 : i])
		l.open = bytes.Clone(l.open[i+1:])
	}
	return len(p), nil
}

// end reads the line as an instrument's last.
func (l *lastLine) end() (probe.End, error) {
	var r probe.Record
	if err := json.Unmarshal(l.whole, &r); err != nil {
		return probe.End{}, fmt.Errorf("read its last line: %w", err)
	}
	if r.Kind != probe.KindEnd {
		return probe.End{}, fmt.Errorf("its last line is %s and not %s", r.Kind, probe.KindEnd)
	}
	return probe.Decode[probe.End](r)
}

// instrumentSlack is what an instrument may take beyond its work: start-up on a
// busy machine, its settle time, its last requests' timeout.
const instrumentSlack = 20 * time.Second

// tail keeps the end of what was written to it.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if over := len(t.b) - 2000; over > 0 {
		t.b = t.b[over:]
	}
	return len(p), nil
}

func (t *tail) said() string {
	if s := strings.TrimSpace(string(t.b)); s != "" {
		return ": " + s
	}
	return ""
}
