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
	wordNone   = "-"
)

func (c Cell) word() string {
	switch {
	case !c.OK:
		return wordWrong
	case c.Outcome == judge.Passed:
		return wordPass
	case c.Outcome == judge.Broken:
		return wordBroken
	}
	return wordCaught
}

// Table prints the matrix of worlds and checks, what each world is and what was caught in
// it, and what is wrong.
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
		fmt.Fprintf(&out, " %4s %s\n", fmt.Sprintf("[%d]", i+1), id)
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
			if word := r.Cells[i].word(); word == wordCaught || word == wordBroken {
				said += fmt.Sprintf("; [%d] %s", slices.Index(checks, id)+1, r.Cells[i].Got)
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
			fmt.Fprintf(&out, "WRONG %s, %s: expected %s, got %s (%s): %s\n", c.World, c.Check, c.Want, c.Got, c.Outcome, c.Message)
		}
	}
	verdict := "every one as expected"
	if r.Wrong > 0 {
		verdict = fmt.Sprintf("%d NOT as expected: do not trust this lbmatrix on this machine", r.Wrong)
	}
	fmt.Fprintf(&out, "%d cells in %d worlds: %s, in %.1f s\n", len(r.Cells), r.Worlds, verdict, (time.Duration(r.ElapsedMS) * time.Millisecond).Seconds())
	_, err := io.WriteString(w, out.String())
	return err
}

// order is a check's place in the catalogue; what is none comes last.
func order(id string) int {
	if i := slices.Index(judge.IDs(), id); i >= 0 {
		return i
	}
	return len(judge.IDs())
}
