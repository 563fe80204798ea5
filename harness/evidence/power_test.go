// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package evidence

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/stat/distuv"

	"github.com/lbmatrix/lbmatrix/harness/probe/arp"
	"github.com/lbmatrix/lbmatrix/harness/selftest"
	"github.com/lbmatrix/lbmatrix/harness/world"
)

// questions is how many another tool asks: it asks one a second.
const questions = 50

// many is how many broadcasts find one answer in a hundred with p >= 0.99.
const many = 460

// shares are those of the broadcasts that the second responder answers: one in so many.
func shares() []int { return []int{1, 10, 100} }

// power is the chance that a second responder that answers one broadcast in n shows in
// that many independent ones.
func power(n, broadcasts int) float64 { return 1 - math.Pow(1-1/float64(n), float64(broadcasts)) }

// within returns the counts that k of n trials with probability p must lie between, with
// 99.9 % probability.
func within(n int, p float64) (low, high int) {
	if p >= 1 {
		return n, n
	}
	b := distuv.Binomial{N: float64(n), P: p}
	for low = 0; b.CDF(float64(low)) < 0.0005; low++ {
	}
	for high = n; 1-b.CDF(float64(high-1)) < 0.0005; high-- {
	}
	return low, high
}

func TestBoundsAreThoseOfTheDistribution(t *testing.T) {
	for _, p := range []float64{0.01, 0.395, 0.5, 0.995} {
		low, high := within(200, p)
		b := distuv.Binomial{N: 200, P: p}
		require.LessOrEqual(t, b.CDF(float64(low-1)), 0.0005, "%v", p)
		require.LessOrEqual(t, 1-b.CDF(float64(high)), 0.0005, "%v", p)
		require.LessOrEqual(t, float64(low), 200*p)
		require.GreaterOrEqual(t, float64(high), 200*p)
	}
	low, high := within(200, 1)
	require.Equal(t, []int{200, 200}, []int{low, high})
}

// A second responder that answers one broadcast in 1, 10 and 100 is seen as often as
// arithmetic says: with as many broadcasts as the other tools are given, and with many.
func TestDetectionPower(t *testing.T)     { detect(t, questions, shares()) }
func TestDetectionPowerMany(t *testing.T) { detect(t, many, []int{100}) }

func detect(t *testing.T, broadcasts int, shares []int) {
	n := trials(t)
	s := newSite(t)
	respond(t, s.one, world.Script{Addresses: vips(0, len(shares))})
	for i, share := range shares {
		respond(t, s.two, world.Script{Addresses: vips(i, 1), Answers: world.Share(1/float64(share), uint64(1+i))})
	}
	seen := make([]int, len(shares))
	begin := time.Now()
	for range n {
		summary, _ := s.sweep(t, arp.Config{Targets: vips(0, len(shares)), Count: broadcasts, Interval: time.Millisecond, Settle: settle})
		require.Zero(t, summary.KernelDrops)
		for i, v := range summary.VIPs {
			require.NotEmpty(t, v.Responders)
			if v.MACs() == 2 {
				seen[i]++
			}
		}
	}
	t.Logf("%d sweeps of %d broadcasts in %.0f s", n, broadcasts, time.Since(begin).Seconds())
	for i, share := range shares {
		p := power(share, broadcasts)
		low, high := within(n, p)
		t.Logf("a second responder that answers 1/%d: seen in %d of %d sweeps of %d broadcasts; computed power %.4f, 99.9 %% bound %d to %d",
			share, seen[i], n, broadcasts, p, low, high)
		assert.True(t, low <= seen[i] && seen[i] <= high)
	}
}

// Five times as many healthy worlds as trials, each judged through its journal, and no
// false alarm among them.
func TestNoFalseAlarm(t *testing.T) {
	n := 5 * trials(t)
	var healthy selftest.World
	for _, w := range selftest.Worlds() {
		if w.Name == "one-responder" {
			healthy = w
		}
	}
	require.NotEmpty(t, healthy.Name)
	var worlds []selftest.World
	for i := range n {
		w := healthy
		w.Name = fmt.Sprintf("%s-%d", healthy.Name, i)
		worlds = append(worlds, w)
	}
	begin := time.Now()
	report, err := selftest.Run(t.Context(), selftest.Options{Worlds: worlds, Dir: t.TempDir()})
	require.NoError(t, err)
	for _, c := range report.Cells {
		require.True(t, c.OK, "%+v", c)
	}
	t.Logf("%d healthy worlds, %d verdicts, %d false alarms, in %.0f s", n, len(report.Cells), report.Wrong, time.Since(begin).Seconds())
}

// otherTool is a program that asks who has an address.
type otherTool struct {
	name, path string
	args       []string
	duplicate  func(code int, out []byte) bool // whether it says that there are two
}

// others are the tools that people reach for, as they come: once a second.
func others() []otherTool {
	macs := regexp.MustCompile(`\[([0-9A-Fa-f:]{17})\]`)
	return []otherTool{
		{
			"Habets arping -d", "arping/usr/sbin/arping",
			[]string{"-d", "-c", strconv.Itoa(questions), "-i", world.Interface},
			func(code int, _ []byte) bool { return code == 1 }, // its manual: answers from two different MAC addresses
		},
		{
			"iputils arping", "iputils-arping/usr/bin/arping",
			[]string{"-c", strconv.Itoa(questions), "-I", world.Interface},
			func(_ int, out []byte) bool {
				seen := map[string]bool{}
				for _, m := range macs.FindAllSubmatch(out, -1) {
					seen[string(m[1])] = true
				}
				return len(seen) > 1
			},
		},
	}
}

// The same worlds, asked by other tools: as many broadcasts, at their pace. Each process
// has an address of its own, so that none hears the answers to another.
func TestOtherTools(t *testing.T) {
	n := trials(t)
	for _, o := range others() {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			for i, share := range shares() {
				begin := time.Now()
				seen := o.ask(t, n, share, uint64(1+i))
				t.Logf("%s: a second responder that answers 1/%d: seen in %d of %d runs of %d questions, %.0f s each; %.4f with every question broadcast and heard",
					o.name, share, seen, n, questions, time.Since(begin).Seconds(), power(share, questions))
			}
		})
	}
}

// ask runs a tool n times at once in a world with a second responder, and returns how many
// runs saw that.
func (o otherTool) ask(t *testing.T, n, share int, seed uint64) (seen int) {
	t.Helper()
	path, env := tool(t, o.path)
	s := newSite(t)
	respond(t, s.one, world.Script{Addresses: vips(0, n)})
	respond(t, s.two, world.Script{Addresses: vips(0, n), Answers: world.Share(1/float64(share), seed)})
	var commands []*exec.Cmd
	var outputs []string
	for k := range n {
		out, err := os.Create(filepath.Join(t.TempDir(), "out"))
		require.NoError(t, err)
		defer out.Close()
		cmd := exec.CommandContext(t.Context(), path, append(slices.Clone(o.args), vip(k).String())...)
		cmd.Env, cmd.Stdout, cmd.Stderr = env, out, out
		require.NoError(t, s.observer.Do(cmd.Start))
		commands, outputs = append(commands, cmd), append(outputs, out.Name())
	}
	for k, cmd := range commands {
		_ = cmd.Wait() // its exit code is its answer
		said, err := os.ReadFile(outputs[k])
		require.NoError(t, err)
		require.Contains(t, string(said), vip(k).String(), "%s heard nothing at all", o.name)
		if o.duplicate(cmd.ProcessState.ExitCode(), said) {
			seen++
		}
	}
	return seen
}
