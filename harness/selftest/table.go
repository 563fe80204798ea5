// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package selftest

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/judge"
)

// The words of the matrix. Caught is what the world is there for: the check must fail.
const (
	wordPass   = "pass"
	wordCaught = "caught"
	wordBroken = "broken"
	wordWrong  = "WRONG"
	wordBusy   = "busy" // the machine was
	wordNone   = "-"
)

func (c Cell) word() string {
	switch {
	case c.Busy:
		return wordBusy
	case !c.OK:
		return wordWrong
	case c.Outcome == judge.Passed:
		return wordPass
	case c.Outcome == judge.Broken:
		return wordBroken
	}
	return wordCaught
}

// Table prints the matrix of worlds, and of checks and instruments' figures, what each
// world is and what was caught or measured in it, and what is wrong.
func Table(w io.Writer, r Report, worlds []World) error {
	var checks []string
	for _, c := range r.Cells {
		if !slices.Contains(checks, c.Check) {
			checks = append(checks, c.Check)
		}
	}
	slices.SortStableFunc(checks, func(a, b string) int { return order(a) - order(b) })
	var out strings.Builder
	for i, id := range checks {
		fmt.Fprintf(&out, " %4s %s\n", fmt.Sprintf("[%d]", i+1), titled(id))
	}
	out.WriteString("\n")
	t := tabwriter.NewWriter(&out, 0, 8, 2, ' ', 0)
	head := ""
	for i := range checks {
		head += fmt.Sprintf("\t[%d]", i+1)
	}
	fmt.Fprintln(t, head+"\twhat is true, and what was said of it")
	for _, world := range worlds {
		line, said := world.Name, world.Truth
		for _, id := range checks {
			i := slices.IndexFunc(r.Cells, func(c Cell) bool { return c.World == world.Name && c.Check == id })
			if i < 0 {
				line += "\t" + wordNone
				continue
			}
			line += "\t" + r.Cells[i].word()
			switch c := r.Cells[i]; {
			case c.Figure != nil:
				said += fmt.Sprintf("; [%d] %s", slices.Index(checks, id)+1, millis(time.Duration(c.Figure.MeasuredNS)))
			case c.word() == wordCaught || c.word() == wordBroken:
				said += fmt.Sprintf("; [%d] %s", slices.Index(checks, id)+1, c.Got)
			}
		}
		fmt.Fprintln(t, line+"\t"+said)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print table: %w", err)
	}
	out.WriteString("\n")
	for _, c := range r.Cells {
		if !c.OK {
			fmt.Fprintf(&out, "%s %s, %s: expected %s, got %s (%s): %s%s\n", c.word(), c.World, c.Check, c.Want, c.Got, c.Outcome, c.Message, c.waited())
		}
	}
	verdict := "every one as expected"
	if r.Wrong > 0 {
		verdict = fmt.Sprintf("%d NOT as expected: do not trust this lbmatrix on this machine", r.Wrong)
	}
	if r.Busy > 0 {
		verdict += fmt.Sprintf(", but %d that this machine is too busy to tell", r.Busy)
	}
	if r.Again > 0 {
		fmt.Fprintf(&out, "worlds were built again %d times: this machine stood still for too long, or a figure was off\n", r.Again)
	}
	fmt.Fprintf(&out, "%d cells in %d worlds: %s, in %.1f s\n", len(r.Cells), r.Worlds, verdict, (time.Duration(r.ElapsedMS) * time.Millisecond).Seconds())
	_, err := io.WriteString(w, out.String())
	return err
}

// waited says how long the machine stood still, where it is to be doubted.
func (c Cell) waited() string {
	if c.WaitedNS == 0 {
		return ""
	}
	return fmt.Sprintf(" (this process waited %s for a core meanwhile)", millis(time.Duration(c.WaitedNS)))
}

// titled is a column's name: a figure says what it is of.
func titled(id string) string {
	for _, i := range Instruments() {
		if i.ID == id {
			return id + ": " + i.Title
		}
	}
	return id
}

// order is a column's place: checks as in the catalogue, then the figures of instruments;
// what is neither comes last.
func order(id string) int {
	if i := slices.Index(judge.IDs(), id); i >= 0 {
		return i
	}
	i := slices.IndexFunc(Instruments(), func(i Instrument) bool { return i.ID == id })
	if i < 0 {
		i = len(Instruments())
	}
	return len(judge.IDs()) + i
}
