// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package report

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/judge"
)

// mdFigures is what was measured, scenario by scenario.
func mdFigures(b *strings.Builder, m Matrix) {
	var body strings.Builder
	for _, s := range m.AllSuites() {
		latency := mdTable{
			head:  append([]string{"Phase", "Check"}, append(percentiles(), "Unit", "n", "Method")...),
			align: []string{"l", "l", "r", "r", "r", "r", "r", "l", "r", "l"},
		}
		other := mdTable{
			head:  []string{"Phase", "Check", "Figure", "Value", "Unit", "n", "Method"},
			align: []string{"l", "l", "l", "r", "l", "r", "l"},
		}
		for _, c := range s.AllCells() {
			ds, rest := splitFigures(c)
			for _, d := range ds {
				cells := []string{md(phaseOf(c)), md(strings.TrimSpace(d.check + " " + d.series))}
				for _, p := range percentiles() {
					cell := "-"
					if v, ok := d.values[p]; ok {
						cell = number(v)
					}
					cells = append(cells, cell)
				}
				latency.add(append(cells, md(d.unit), strconv.FormatInt(d.n, 10), md(d.method))...)
			}
			for _, f := range rest {
				other.add(md(phaseOf(c)), md(c.Check), md(f.Name), number(f.Value), md(f.Unit), strconv.FormatInt(f.N, 10), md(f.Method))
			}
		}
		if len(latency.rows)+len(other.rows) > 0 {
			fmt.Fprintf(&body, "### %s\n\n", md(s.Label()))
			latency.write(&body)
			other.write(&body)
		}
	}
	if body.Len() > 0 {
		b.WriteString("## Figures\n\n" + body.String())
	}
}

// mdFindings is what is worth telling about components. The same finding from
// several places is one line.
func mdFindings(b *strings.Builder, m Matrix) {
	var order []judge.Finding
	where := map[judge.Finding][]string{}
	eachCell(m, func(_ int, s Suite, c judge.Cell) {
		for _, f := range c.Verdict.Findings {
			if where[f] == nil {
				order = append(order, f)
			}
			where[f] = append(where[f], s.Label()+" "+phaseOf(c)+" "+c.Check)
		}
	})
	if len(order) == 0 {
		return
	}
	b.WriteString("## Findings\n\nFacts about components; without effect on the results.\n\n")
	for _, f := range order {
		fmt.Fprintf(b, "- **%s**: %s (%s)\n", md(f.Component), md(f.Message), md(strings.Join(where[f], "; ")))
	}
	b.WriteByte('\n')
}

// mdTimings is where the time went.
func mdTimings(b *strings.Builder, m Matrix) {
	t := mdTable{head: []string{"Of", "Step", "Took"}, align: []string{"l", "l", "r"}}
	for _, x := range m.Run.Timings {
		if x.Of == "" { // else it is a part of a step
			t.add("the run", md(x.Name), durationText(x.Elapsed))
		}
	}
	for _, s := range m.Suites {
		var sum time.Duration
		for _, x := range s.Steps {
			t.add(md(s.Label()), md(x.Name), durationText(x.Elapsed))
			sum += x.Elapsed
		}
		if s.Elapsed > 0 {
			t.add(md(s.Label()), "**all** (steps: "+durationText(sum)+")", durationText(s.Elapsed))
		}
	}
	if len(t.rows) > 0 {
		b.WriteString("## Timings\n\n")
	}
	t.write(b)
}

// mdMachine is what it ran on and with: without it no figure can be compared.
func mdMachine(b *strings.Builder, m Matrix) {
	t := mdTable{head: []string{"Of", "What", "Value"}}
	for _, r := range m.runs() {
		of := md(orElse(r.ID, "the run"))
		for _, name := range sortedKeys(r.Versions) {
			t.add(of, md(name), md(r.Versions[name]))
		}
		for _, p := range machineProperties(r.Machine) {
			t.add(of, md(p.Name), md(p.Value))
		}
	}
	for _, s := range m.Suites {
		for _, p := range append(s.machineProperties(), s.Properties...) {
			t.add(md(s.Label()), md(p.Name), md(p.Value))
		}
	}
	if len(t.rows) > 0 {
		b.WriteString("## Versions and machine\n\n")
	}
	t.write(b)
}

// machineProperties are what is known of the machine of a suite that ran elsewhere than
// its run.
func (s Suite) machineProperties() []Property {
	if s.Machine == nil {
		return nil
	}
	return machineProperties(*s.Machine)
}

// machineProperties are what is known of a machine.
func machineProperties(m Machine) []Property {
	var ps []Property
	add := func(name, value string) {
		if value != "" {
			ps = append(ps, Property{name, value})
		}
	}
	add("host", m.Host)
	add("os", m.OS)
	add("kernel", m.Kernel)
	if m.CPUs > 0 {
		add("cpus", strconv.Itoa(m.CPUs))
	}
	if m.MemoryBytes > 0 {
		add("memory", fmt.Sprintf("%.1f GiB", float64(m.MemoryBytes)/(1<<30)))
	}
	add("cgroup", m.Cgroup)
	add("accelerator", m.Accelerator)
	if m.Slowdown > 0 {
		add("slowdown", fmt.Sprintf("%.1f times its host's time for a fixed piece of work", m.Slowdown))
	}
	return ps
}
