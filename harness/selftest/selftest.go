// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package selftest proves the instruments and the checks on the machine they run on: it
// builds worlds whose truth is known, runs the instruments in them, records journals and
// judges those with the real judge. A check that says anything else than what is true in
// a world fails the selftest.
package selftest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/ether"
	"github.com/lbmatrix/lbmatrix/harness/probe/load"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// World is a segment of known truth, and what the checks must say of it.
type World struct {
	Name  string
	Truth string // what is so in it, for people
	// Spec changes the scenario that the world is judged by; nil leaves the defaults.
	Spec func(*scenario.Scenario)
	// Build makes the world. What it makes ends with the site.
	Build func(ctx context.Context, s *Site) error
	// measure runs instruments in it, keeps their streams in a folder, and returns what they
	// measured; nil: the world is about checks alone.
	measure func(ctx context.Context, s *Site, dir string) ([]reading, error)
	// Want is the code that each check and each figure of an instrument must give. What is
	// not named is not asked.
	Want map[string]string
	// Finding must be part of a finding of the checks together; empty is none needed.
	Finding string
	// Places is how many of parallel places it takes; 0: one. Where time is measured, few or
	// none of the other worlds run beside it.
	Places int
	// Steady is how long this process may have waited for a core for the cells to be held
	// against it; 0: stoodStill.
	Steady time.Duration
}

// Options say what is tested, and with what. The zero value tests everything with the
// real instruments.
type Options struct {
	Worlds []World                                  // nil: Worlds()
	Dir    string                                   // journals and streams stay there, one folder a world; empty: nowhere
	Tries  int                                      // how often one world is built at most; 0: 3
	Conn   func(ether.Conn) ether.Conn              // stands between the arp instrument and its socket
	Load   func(*load.Config)                       // changes how the load instrument runs
	Watch  func(probe.WatchProbe) probe.WatchProbe  // changes what the watch instrument recorded
	Judge  func(j judge.Cell) judge.Cell            // changes what a check says
	Done   func(world World, elapsed time.Duration) // called as worlds end, one at a time
}

// Cell is one check, or one figure of an instrument, in one world.
type Cell struct {
	World   string        `json:"world"`
	Check   string        `json:"check"`  // or Instrument.ID
	Family  string        `json:"family"` // the check's, or FamilyInstrument
	Want    string        `json:"want"`   // code
	Got     string        `json:"got"`
	Outcome judge.Outcome `json:"outcome"`
	Message string        `json:"message"`
	OK      bool          `json:"ok"` // as wanted
	Figure  *Figure       `json:"figure,omitempty"`
	// WaitedNS is how long this process waited for a core at most while the world was
	// measured, where that is longer than the cell is held to.
	WaitedNS int64 `json:"waitedNS,omitempty"`
	// Busy says that a figure is not as wanted by no more than that explains: the machine
	// cannot tell whether the instrument is right. It is not counted as wrong.
	Busy bool `json:"busy,omitempty"`
}

// Figure is what an instrument measured.
type Figure struct {
	TruthNS    int64 `json:"truthNS"`
	MeasuredNS int64 `json:"measuredNS"`
	AllowedNS  int64 `json:"allowedNS"` // how far the one may be from the other
}

// Report is what a selftest found.
type Report struct {
	Cells     []Cell `json:"cells"`
	Worlds    int    `json:"worlds"`
	Wrong     int    `json:"wrong"` // cells that are not as wanted, but for the next
	Busy      int    `json:"busy"`  // figures that this machine was too busy for
	Again     int    `json:"again"` // how often a world was built again: this machine stood still, or a figure was off
	ElapsedMS int64  `json:"elapsedMS"`
}

// parallel is how many worlds that measure no latency are there at the same time. They
// wait for their schedules most of the time.
const (
	parallel = 6
	all      = parallel
	half     = parallel / 2
)

// Run builds every world and holds the checks to its truth. An error is one of the
// harness: a world that could not be built or measured.
func Run(ctx context.Context, o Options) (Report, error) {
	begin := time.Now()
	worlds := o.Worlds
	if worlds == nil {
		worlds = Worlds()
	}
	dir := o.Dir
	if dir == "" {
		tmp, err := os.MkdirTemp("", "lbmatrix-selftest-")
		if err != nil {
			return Report{}, fmt.Errorf("make a folder for journals: %w", err)
		}
		defer os.RemoveAll(tmp)
		dir = tmp
	}
	cells := make([][]Cell, len(worlds))
	errs := make([]error, len(worlds))
	// Those that take more than a place come last, so that the others need not wait for each.
	var order []int
	for _, last := range []bool{false, true} {
		for i, w := range worlds {
			if (w.Places > 1) == last {
				order = append(order, i)
			}
		}
	}
	places := semaphore.NewWeighted(parallel)
	var running sync.WaitGroup
	var telling sync.Mutex
	again := 0
	for _, i := range order {
		w, need := worlds[i], int64(cmp.Or(worlds[i].Places, 1))
		if err := places.Acquire(ctx, need); err != nil {
			running.Wait()
			return Report{}, context.Cause(ctx)
		}
		running.Go(func() {
			defer places.Release(need)
			start := time.Now()
			var n int
			cells[i], n, errs[i] = o.settled(ctx, w, filepath.Join(dir, w.Name))
			if errs[i] != nil {
				errs[i] = fmt.Errorf("world %s: %w", w.Name, errs[i])
			}
			telling.Lock()
			defer telling.Unlock()
			again += n
			if o.Done != nil {
				o.Done(w, time.Since(start))
			}
		})
	}
	running.Wait()
	report := Report{Cells: slices.Concat(cells...), Worlds: len(worlds), Again: again}
	for _, c := range report.Cells {
		switch {
		case c.Busy:
			report.Busy++
		case !c.OK:
			report.Wrong++
		}
	}
	report.ElapsedMS = time.Since(begin).Milliseconds()
	return report, errors.Join(errs...)
}

// checks lists what a world asks, in the catalogue's order. A check that this lbmatrix
// does not have is asked, too: it is then broken, and found out.
func (w World) checks() []string {
	var ids []string
	for _, id := range judge.IDs() {
		if _, ok := w.Want[id]; ok {
			ids = append(ids, id)
		}
	}
	for id := range w.Want {
		if !slices.Contains(ids, id) && !instrument(id) {
			ids = append(ids, id)
		}
	}
	return ids
}

const (
	// stoodStill is how long the process must have waited for a core for a world to be
	// built again, unless it says otherwise: worlds answer in this process, and requests
	// have 2.9 s.
	stoodStill = 250 * time.Millisecond
	// defaultTries bounds how often one world is built.
	defaultTries = 3
)

// settled measures a world until its cells are as wanted or the machine cannot be why
// they are not: it is built again when this process did not get to run meanwhile. One
// reading of a figure that is off decides nothing, for what held up the frames need not
// have held up this process: of a world with figures the middle ones of all its tries
// count. It returns how often the world was built again.
func (o Options) settled(ctx context.Context, w World, dir string) ([]Cell, int, error) {
	tries := cmp.Or(o.Tries, defaultTries)
	var measured [][]Cell
	for n := 0; ; n++ {
		stop := watchScheduler()
		cells, err := o.world(ctx, w, dir)
		waited := stop()
		if err != nil {
			return nil, n, err
		}
		steady := waited < cmp.Or(w.Steady, stoodStill)
		if !steady {
			for i := range cells {
				cells[i].doubt(waited)
			}
		}
		right := !slices.ContainsFunc(cells, func(c Cell) bool { return !c.OK })
		done := right || steady
		if w.measure != nil {
			measured = append(measured, cells)
			cells, done = middle(measured), right && n == 0
		}
		if done || n+1 >= tries {
			return cells, n, nil
		}
	}
}

// middle gives of each cell that was measured several times the one whose distance from
// the truth is the middle one, the larger of two, whichever way it is off. One without a
// figure counts as the furthest.
func middle(measured [][]Cell) []Cell {
	var out []Cell
	for i := range measured[0] {
		var same []Cell
		for _, cells := range measured {
			same = append(same, cells[i])
		}
		slices.SortStableFunc(same, func(a, b Cell) int { return cmp.Compare(a.off(), b.off()) })
		c := same[len(same)/2]
		if len(same) > 1 {
			c.Message += fmt.Sprintf(" (the middle of %d readings)", len(same))
		}
		out = append(out, c)
	}
	return out
}

// off is how far a cell's figure is from the truth.
func (c Cell) off() time.Duration {
	if c.Figure == nil {
		return math.MaxInt64
	}
	return time.Duration(c.Figure.MeasuredNS - c.Figure.TruthNS).Abs()
}

// watchScheduler measures the longest time that the process was not run although it
// wanted to be, until the function it returns is called.
func watchScheduler() func() time.Duration {
	const pause = 5 * time.Millisecond
	done := make(chan struct{})
	longest := make(chan time.Duration)
	go func() {
		var most time.Duration
		for {
			before := time.Now()
			select {
			case <-done:
				longest <- most
				return
			case <-time.After(pause):
				most = max(most, time.Since(before)-pause)
			}
		}
	}()
	return func() time.Duration {
		close(done)
		return <-longest
	}
}

// world builds one world, observes it and judges it.
func (o Options) world(ctx context.Context, w World, dir string) ([]Cell, error) {
	s, err := newSite(o)
	if err != nil {
		return nil, err
	}
	err = w.Build(ctx, s)
	var path string
	if err == nil && len(w.checks()) > 0 {
		path, err = o.record(ctx, w, s, dir)
	}
	var readings []reading
	if err == nil && w.measure != nil {
		readings, err = w.measure(ctx, s, dir)
	}
	if err = errors.Join(err, s.segment.Close()); err != nil {
		return nil, err
	}
	cells := w.figures(readings)
	if path == "" {
		return cells, nil
	}
	judged, err := o.judged(w, path)
	return append(judged, cells...), err
}

// judged is what the checks say of a world's journal.
func (o Options) judged(w World, path string) ([]Cell, error) {
	j, err := journal.ReadFile(path)
	if err != nil {
		return nil, err
	}
	judged, err := judge.Journal(j)
	if err != nil {
		return nil, err
	}
	var cells []Cell
	found := w.Finding == ""
	for _, c := range judged {
		if o.Judge != nil {
			c = o.Judge(c)
		}
		cells = append(cells, Cell{
			World: w.Name, Check: c.Check, Family: family(c.Check), Want: w.Want[c.Check], Got: c.Verdict.Code, Outcome: c.Verdict.Outcome, Message: c.Verdict.Message,
			OK: c.Verdict.Code == w.Want[c.Check] && (c.Verdict.Code == "ok") == (c.Verdict.Outcome == judge.Passed),
		})
		found = found || mentions(c.Verdict.Findings, w.Finding)
	}
	if !found {
		cells = append(cells, Cell{World: w.Name, Check: "(findings)", Want: w.Finding, Got: "no such finding", Message: "what was found does not mention it"})
	}
	return cells, nil
}

// mentions says whether a finding has a text in it.
func mentions(findings []judge.Finding, text string) bool {
	return slices.ContainsFunc(findings, func(f judge.Finding) bool { return strings.Contains(f.Message, text) })
}

// record writes the world's journal and returns its path.
func (o Options) record(ctx context.Context, w World, s *Site, dir string) (path string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the world's folder: %w", err)
	}
	sc := defaults(w)
	spec, err := json.Marshal(sc)
	if err != nil {
		return "", fmt.Errorf("encode scenario: %w", err)
	}
	checks := w.checks()
	path = filepath.Join(dir, journal.FileName)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("remove the journal of an earlier selftest: %w", err)
	}
	out, err := journal.Create(path, journal.Header{
		Scenario: w.Name, Spec: spec, Where: "selftest",
		Phases: []journal.PlannedPhase{{Name: journal.PhaseBaseline, Checks: checks}},
	})
	if err != nil {
		return "", err
	}
	reason := journal.ReasonDone
	if err = s.observe(ctx, out, sc, judge.Observations(checks)); err != nil {
		reason = journal.ReasonFailed
	}
	return path, errors.Join(err, out.Close(reason, err))
}

// probes is how many who-has a sweep sends for each address, unless a world says otherwise.
const probes = 50

// defaults is the scenario that a world is judged by: kube-proxy and SNAT, and samples
// that are small enough for seconds and large enough for every verdict.
func defaults(w World) scenario.Scenario {
	var sc scenario.Scenario
	sc.Metadata.Name = w.Name
	sc.Spec.DataPlane.Proxy = scenario.ProxyIPTables
	sc.Spec.Limits.ARPProbes = probes
	sc.Spec.Limits.ARPInterval = scenario.Duration(4 * time.Millisecond)
	sc.Spec.Limits.Requests = 80
	sc.Spec.Limits.RequestRate = 200
	sc.Spec.Limits.LatencyRequests = 210
	if w.Spec != nil {
		w.Spec(&sc)
	}
	sc.SetDefaults()
	return sc
}
