// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package pace says how fast a machine is, and stretches time limits on one that is
// slower than the limits were made for: an emulated guest runs 10 to 50 times slower
// than its host, and how much is only known when it is measured there.
//
// Limits are stretched, and load that is there to ask and not to measure is offered less
// often. How often is asked in all, and the intervals of ARP, stay as the scenario says.
package pace

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"time"
)

// What one measurement does: updates of a map, which is memory and arithmetic like most of
// what Go programs do, and processes started one after another, as kube-proxy starts
// iptables and ipset. Emulation costs the second some five times as much as the first.
const (
	updates   = 2_000_000
	processes = 10
)

// program is what is started: it does nothing, and every Linux system has it.
const program = "true"

// Measure does a fixed piece of work and says how long it took here: the least of n
// attempts, for other work on the machine can only add to it.
func Measure(ctx context.Context, n int) (time.Duration, error) {
	var least time.Duration
	for i := range max(n, 1) {
		began := time.Now()
		if count() == 0 {
			return 0, errors.New("measure pace: the map holds nothing")
		}
		for range processes {
			if err := exec.CommandContext(ctx, program).Run(); err != nil {
				return 0, fmt.Errorf("measure pace: run %s: %w", program, err)
			}
		}
		if took := time.Since(began); i == 0 || took < least {
			least = took
		}
	}
	return least, nil
}

// count updates a map that outgrows the first caches.
func count() int {
	m := map[uint32]int{}
	x := uint32(1)
	for range updates {
		x ^= x << 13 // xorshift32 (Marsaglia, 2003): the same keys everywhere
		x ^= x >> 17
		x ^= x << 5
		m[x%50_000]++
	}
	return len(m)
}

// key is the type of the context's key.
type key struct{}

// With gives a context the factor by which its machine is slower than limits expect. A
// machine that is faster than the one they were made on gets no less time.
func With(ctx context.Context, factor float64) context.Context {
	return context.WithValue(ctx, key{}, max(factor, 1))
}

// Of is the factor of a context, 1 where nobody gave one.
func Of(ctx context.Context) float64 {
	if f, ok := ctx.Value(key{}).(float64); ok {
		return f
	}
	return 1
}

// Scale stretches a limit by the context's factor.
func Scale(ctx context.Context, limit time.Duration) time.Duration { return Stretch(limit, Of(ctx)) }

// Rate is how many requests a second a machine can be offered that asks perSecond of an
// ordinary one, at least 1. It falls with the square root of the factor: a guest 18 times slower
// than its host was measured to carry some 220 new HTTP connections a second, and to lose two of
// 1200 when it was offered 300. A quarter of that leaves room for a busier host.
func Rate(ctx context.Context, perSecond int) int {
	return max(1, int(float64(perSecond)/math.Sqrt(Of(ctx))))
}

// Stretch stretches a limit by a factor, and never shortens it.
func Stretch(limit time.Duration, factor float64) time.Duration {
	return time.Duration(float64(limit) * max(factor, 1))
}
