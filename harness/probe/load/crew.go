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
}

// crew is the goroutines that requests are made in, as many as were in flight at once.
// They stay: a goroutine for each request grows its stack anew, and that and its start and
// end were an eighth of what a request costs.
type crew struct {
	most int
	work func(job)

	mu      sync.Mutex
	members int
	idle    []chan job // the last used first
	ending  bool
	all     sync.WaitGroup
}

// full says whether every member is busy and no further may come.
func (c *crew) full() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.idle) == 0 && c.members == c.most
}

// do has a member do a job and returns at once. The crew must not be full, and one
// goroutine alone gives it jobs.
func (c *crew) do(j job) {
	c.mu.Lock()
	var jobs chan job
	if n := len(c.idle); n > 0 {
		jobs, c.idle = c.idle[n-1], c.idle[:n-1]
	} else {
		c.members++
	}
	c.mu.Unlock()
	if jobs == nil {
		jobs = make(chan job, 1)
		c.all.Go(func() { c.member(jobs) })
	}
	jobs <- j
}

func (c *crew) member(jobs chan job) {
	for j := range jobs {
		c.work(j)
		c.mu.Lock()
		if c.ending {
			c.mu.Unlock()
			return
		}
		c.idle = append(c.idle, jobs)
		c.mu.Unlock()
	}
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
