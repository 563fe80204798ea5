// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import "time"

// State is where the making of an artifact stands.
type State string

// The states of an artifact, in the order they are gone through.
const (
	Queued   State = "queued"
	Waiting  State = "waiting" // another process makes the same artifact
	Building State = "building"
	Cached   State = "cached" // it was there already
	Done     State = "done"
	Failed   State = "failed"
)

// Event tells how the making of an artifact goes on.
type Event struct {
	Artifact string        // name and version, e.g. "kubernetes v1.35.4"
	State    State         //
	Elapsed  time.Duration // since building began
	Bytes    int64         // size, once known
	Detail   string        // what is being done, or the error
}

// Meta describes a finished artifact. It lies beside it as meta.json.
type Meta struct {
	Name      string        `json:"name"`
	Version   string        `json:"version"`
	Key       string        `json:"key"` // sha256 over every input of the recipe
	Bytes     int64         `json:"bytes"`
	BuildTime time.Duration `json:"buildTime"` // nanoseconds
	Built     time.Time     `json:"built"`
	Dir       string        `json:"-"` // where it lies
	Used      time.Time     `json:"-"` // when it was last asked for
}

func (s *Store) report(e Event) {
	if s.progress == nil {
		return
	}
	s.reporting.Lock()
	defer s.reporting.Unlock()
	s.progress(e)
}
