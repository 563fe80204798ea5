// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package plan

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/component"
	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/pace"
)

const (
	// firstWithin bounds the wait for a first answer. That there is none is what the
	// checks will say; the deployment does not fail of it.
	firstWithin = 10 * time.Second
	firstPause  = 20 * time.Millisecond
)

// firstAnswer notes when the client got its first answer through a VIP, and how long
// after the worker began that was: what a bring-up is worth to who waits for it.
func (w *worker) firstAnswer(ctx context.Context, s component.Service) error {
	if !s.VIP.IsValid() {
		return nil // that it has none is a verdict
	}
	note := map[string]any{"what": "first answer through the VIP"}
	for deadline := time.Now().Add(pace.Scale(ctx, firstWithin+w.Scenario.Spec.DataPlane.Programs())); ; {
		answered, err := w.env.Answers(ctx, s.VIP, int(s.Ports[component.PortHTTP].Port))
		if err != nil {
			return fmt.Errorf("ask for a first answer: %w", err)
		}
		if answered {
			note["afterMS"] = time.Since(w.began).Milliseconds()
			break
		}
		if time.Now().After(deadline) {
			note["afterMS"] = json.RawMessage("null")
			break
		}
		time.Sleep(firstPause)
	}
	w.progress("first answer through the VIP after %vms", note["afterMS"])
	return w.journal.Write(journal.KindNote, note)
}
