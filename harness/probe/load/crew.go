// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package load

import (
	"sync"
	"time"
)

// job is one request that is due.
type job struct {
	number int64
	target int
	due    time.Time
	waited bool // for its turn
}

// crew is the goroutines that requests are made in. They stay: one for each request would
// grow its stack anew, and that and its start and end were an eighth of what a request
// costs.
type crew struct {
	size int // members: jobs that are done at the same time
	most int // jobs that are given and not done; those above size wait their turn
	work func(job)

	mu      sync.Mutex
	members int
	idle    []chan job // the last used first
	waiting []job      // the first given first, from turn on; none where a member is idle
	turn    int
	ending  bool
	all     sync.WaitGroup
}

// full says whether no further job can be given.
func (c *crew) full() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.idle) == 0 && c.members == c.size && len(c.waiting)-c.turn == c.most-c.size
}

// do has a member do a job and returns at once. The crew must not be full, and one
// goroutine alone gives it jobs.
func (c *crew) do(j job) {
	c.mu.Lock()
	var jobs chan job
	switch n := len(c.idle); {
	case n > 0:
		jobs, c.idle = c.idle[n-1], c.idle[:n-1]
	case c.members < c.size:
		c.members++
		jobs = make(chan job, 1)
		c.all.Go(func() { c.member(jobs) })
	default:
		j.waited = true
		c.waiting = append(c.waiting, j)
	}
	c.mu.Unlock()
	if jobs != nil {
		jobs <- j
	}
}

func (c *crew) member(jobs chan job) {
	for j := range jobs {
		for again := true; again; {
			c.work(j)
			j, again = c.next(jobs)
		}
	}
}

// next is the job whose turn it is. Where none waits, the member is idle.
func (c *crew) next(jobs chan job) (j job, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.turn < len(c.waiting):
		j = c.waiting[c.turn]
		if c.turn++; 2*c.turn >= len(c.waiting) { // the queue stays in one place, and no longer than twice what waits
			c.waiting, c.turn = c.waiting[:copy(c.waiting, c.waiting[c.turn:])], 0
		}
		return j, true
	case c.ending:
		close(jobs)
	default:
		c.idle = append(c.idle, jobs)
	}
	return job{}, false
}

// wait returns when all jobs are done. No further may be given.
func (c *crew) wait() {
	c.mu.Lock()
	c.ending = true
	for _, jobs := range c.idle {
		close(jobs)
	}
	c.mu.Unlock()
	c.all.Wait()
}
