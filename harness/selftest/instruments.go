// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package selftest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

// FamilyInstrument is the family of what is no check: a figure that an instrument must
// give of a world.
const FamilyInstrument = "instrument"

// Instrument is a figure that an instrument gives, and that is held to the truth as
// checks are.
type Instrument struct {
	ID    string
	Title string
}

// Instruments lists the figures, in the order in which they are told.
func Instruments() []Instrument {
	return []Instrument{
		{loadP99, "the 99th percentile of the load instrument's response times"},
		{loadP999, "the 99.9th percentile"},
		{watchNew, "the length of an outage by the watch instrument's new connections"},
		{watchUDP, "by its datagrams"},
		{watchARP, "by its broadcasts of ARP"},
	}
}

// family is that of a check, or of an instrument's figure.
func family(id string) string {
	if instrument(id) {
		return FamilyInstrument
	}
	c, _ := judge.Lookup(id)
	return c.Family
}

func instrument(id string) bool {
	return slices.ContainsFunc(Instruments(), func(i Instrument) bool { return i.ID == id })
}

// codeOff is said of a figure that is further from the truth than allowed.
const codeOff = "off"

// reading is a figure of an instrument beside what is true.
type reading struct {
	id                       string
	truth, measured, allowed time.Duration
	wrong                    string // why there is no such figure; empty: there is
}

// figures are the cells of a world's instruments.
func (w World) figures(readings []reading) []Cell {
	var cells []Cell
	for _, i := range Instruments() {
		if _, asked := w.Want[i.ID]; !asked {
			continue
		}
		n := slices.IndexFunc(readings, func(r reading) bool { return r.id == i.ID })
		r := reading{id: i.ID, wrong: "no-figure"}
		if n >= 0 {
			r = readings[n]
		}
		cells = append(cells, r.cell(w))
	}
	return cells
}

func (r reading) cell(w World) Cell {
	c := Cell{
		World: w.Name, Check: r.id, Family: FamilyInstrument, Want: w.Want[r.id], Got: codeOK, Outcome: judge.Passed,
		Figure: &Figure{TruthNS: r.truth.Nanoseconds(), MeasuredNS: r.measured.Nanoseconds(), AllowedNS: r.allowed.Nanoseconds()},
	}
	off := r.measured - r.truth
	c.Message = fmt.Sprintf("%s measured, %s true: %s off, %s allowed", millis(r.measured), millis(r.truth), millis(off), millis(r.allowed))
	switch {
	case r.wrong != "":
		c.Got, c.Outcome, c.Message, c.Figure = r.wrong, judge.Failed, "it gives no such figure", nil
	case off.Abs() > r.allowed:
		c.Got, c.Outcome = codeOff, judge.Failed
	}
	c.OK = c.Got == c.Want
	return c
}

// doubt notes that this process waited for a core. Each end of what is measured may be off
// by that.
func (c *Cell) doubt(waited time.Duration) {
	c.WaitedNS = waited.Nanoseconds()
	if c.Figure != nil && !c.OK {
		off := time.Duration(c.Figure.MeasuredNS - c.Figure.TruthNS).Abs()
		c.Busy = off <= time.Duration(c.Figure.AllowedNS)+2*waited
	}
}

func millis(d time.Duration) string { return fmt.Sprintf("%.3f ms", d.Seconds()*1000) }

// recordTo runs an instrument whose stream is also kept in the world's folder.
func recordTo(dir, name string, run func(io.Writer) error) ([]probe.Record, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the world's folder: %w", err)
	}
	file, err := os.Create(filepath.Join(dir, name+".jsonl"))
	if err != nil {
		return nil, fmt.Errorf("keep the stream of %s: %w", name, err)
	}
	var out bytes.Buffer
	if err := errors.Join(run(io.MultiWriter(&out, file)), file.Close()); err != nil {
		return nil, err
	}
	records, err := stream.Read(&out)
	if err != nil {
		return nil, fmt.Errorf("read the stream of %s: %w", name, err)
	}
	return records, nil
}

// wait sleeps, unless ctx ends before.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
