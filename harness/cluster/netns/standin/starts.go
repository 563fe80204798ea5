// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package standin

import (
	"context"
	"slices"
	"sync"
)

// criticalClass is the priority class whose pods go first, as kube-proxy's are of.
const criticalClass = "system-node-critical"

// starts lets a bounded number of programs start at a time. A hundred that start at once
// on two processors get nowhere: those that would be ready by now wait for those that
// have just begun, and some give up.
type starts struct {
	mu      sync.Mutex
	free    int
	waiting [2][]chan struct{} // critical ones, and all others, each in the order they came
}

func newStarts(most int) *starts { return &starts{free: most} }

// enter waits for its turn; leave gives it back, once however often it is called. Critical
// ones overtake the others.
func (s *starts) enter(ctx context.Context, critical bool) (leave func(), err error) {
	s.mu.Lock()
	if s.free > 0 {
		s.free--
		s.mu.Unlock()
		return sync.OnceFunc(s.leave), nil
	}
	queue := &s.waiting[1]
	if critical {
		queue = &s.waiting[0]
	}
	turn := make(chan struct{})
	*queue = append(*queue, turn)
	s.mu.Unlock()
	select {
	case <-turn:
		return sync.OnceFunc(s.leave), nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	at := slices.Index(*queue, turn)
	if at >= 0 {
		*queue = slices.Delete(*queue, at, at+1)
	}
	s.mu.Unlock()
	if at < 0 {
		s.leave() // its turn had come meanwhile
	}
	return nil, context.Cause(ctx)
}

// leave hands a turn on, or keeps it for who comes next.
func (s *starts) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.waiting {
		if len(s.waiting[i]) > 0 {
			close(s.waiting[i][0])
			s.waiting[i] = s.waiting[i][1:]
			return
		}
	}
	s.free++
}
