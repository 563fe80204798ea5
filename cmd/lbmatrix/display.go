// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/lbmatrix/lbmatrix/harness/artifact"
	"github.com/lbmatrix/lbmatrix/harness/plan"
)

// display shows progress: on a terminal the last line is rewritten while something
// runs, in a log every step is a line of its own.
type display struct {
	mu      sync.Mutex
	w       io.Writer
	width   int // of the terminal; 0 in a log
	live    bool
	started time.Time
}

func newDisplay(w io.Writer) *display {
	d := &display{w: w, started: time.Now()}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 20 {
			d.width = width
		}
	}
	return d
}

// line prints a line that stays.
func (d *display) line(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clear()
	fmt.Fprintf(d.w, "%6s  %s\n", clock(time.Since(d.started)), fmt.Sprintf(format, args...))
}

// status shows what is going on right now; a log gets it too when it is worth a line.
func (d *display) status(format string, args ...any) {
	if d.width == 0 {
		d.line(format, args...)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clear()
	text := fmt.Sprintf("%6s  %s", clock(time.Since(d.started)), fmt.Sprintf(format, args...))
	if r := []rune(text); len(r) >= d.width {
		text = string(r[:d.width-1])
	}
	fmt.Fprint(d.w, text)
	d.live = true
}

func (d *display) clear() {
	if d.live {
		fmt.Fprint(d.w, "\r\x1b[K")
		d.live = false
	}
}

func (d *display) done() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clear()
}

func (d *display) note(text string) { d.line("%s", text) }

// event shows a worker's progress.
func (d *display) event(e plan.Event) {
	step := fmt.Sprintf("%s [%d/%d] %s", e.Scenario, e.Index, e.Steps, e.Step)
	switch e.Type {
	case plan.StepBegin:
		if d.width > 0 {
			d.status("%s", step)
		}
	case plan.StepEnd:
		took := clock(time.Duration(e.Elapsed) * time.Millisecond)
		if e.Error != "" {
			d.line("%s failed after %s: %s", step, took, firstLine(e.Error))
			return
		}
		d.line("%s %s", step, took)
	case plan.Kept:
		d.line("%s  %s", e.Scenario, e.Message)
	case plan.Progress:
		d.status("%s  %s", e.Scenario, e.Message)
	}
}

// artifact shows what is built; what was cached is not worth a line.
func (d *display) artifact(e artifact.Event) {
	switch e.State {
	case artifact.Done:
		d.line("%s built in %s, %s", e.Artifact, clock(e.Elapsed), size(e.Bytes))
	case artifact.Failed:
		d.line("%s failed: %s", e.Artifact, firstLine(e.Detail))
	case artifact.Waiting, artifact.Building:
		d.status("%s: %s %s", e.Artifact, e.State, firstLine(e.Detail))
	}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// clock writes a duration for people: 850ms, 4.2s, 2m05s.
func clock(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
}

// size writes a number of bytes for people.
func size(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%d kB", n/1000)
}
