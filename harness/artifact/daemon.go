// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/docker"
)

// ensureImage makes a docker image when the daemon does not hold it: a daemon loses
// images without asking the store, so its presence there is what counts.
func (s *Store) ensureImage(ctx context.Context, d *docker.Client, ref string, build func(ctx context.Context, note func(string)) error) error {
	title := "image " + ref
	held, err := d.HasImage(ctx, ref)
	if err != nil {
		return fmt.Errorf("make %s: %w", title, err)
	}
	if held {
		s.report(Event{Artifact: title, State: Cached})
		return nil
	}
	unlock, err := s.lock(ctx, strings.NewReplacer("/", "-", ":", "-").Replace(ref), func() {
		s.report(Event{Artifact: title, State: Waiting, Detail: "another process makes it"})
	})
	if err != nil {
		return fmt.Errorf("make %s: %w", title, err)
	}
	defer unlock()
	if held, err = d.HasImage(ctx, ref); err != nil || held {
		return err
	}
	begin := time.Now()
	note := func(detail string) {
		s.report(Event{Artifact: title, State: Building, Elapsed: time.Since(begin), Detail: detail})
	}
	note("")
	if err := build(ctx, note); err != nil {
		s.report(Event{Artifact: title, State: Failed, Elapsed: time.Since(begin), Detail: err.Error()})
		return fmt.Errorf("make %s: %w", title, err)
	}
	s.report(Event{Artifact: title, State: Done, Elapsed: time.Since(begin), Bytes: imageSize(ctx, d, ref)})
	return nil
}

func imageSize(ctx context.Context, d *docker.Client, ref string) int64 {
	out, err := d.Output(ctx, "image", "inspect", "--format", "{{.Size}}", ref)
	if err != nil {
		return 0
	}
	var n int64
	_, _ = fmt.Sscan(out, &n)
	return n
}

// PruneImages removes the project's images from a daemon, but for those kept and the
// images these were baked from. Images that containers use stay.
func (s *Store) PruneImages(ctx context.Context, d *docker.Client, keep ...NodeImages) ([]string, error) {
	out, err := d.Output(ctx, "image", "ls", "--filter", "label="+label+"=1", "--format", "{{.Repository}}:{{.Tag}}")
	if err != nil {
		return nil, fmt.Errorf("prune images: %w", err)
	}
	layers := map[string]string{}
	for _, ref := range strings.Fields(out) {
		if strings.Contains(ref, "<none>") {
			continue
		}
		if layers[ref], err = d.Output(ctx, "image", "inspect", "--format", "{{range .RootFS.Layers}}{{.}} {{end}}", ref); err != nil {
			return nil, fmt.Errorf("prune images: %w", err)
		}
	}
	var gone []string
	for _, ref := range superfluous(layers, keep) {
		// One that is in use is refused: that is an answer, no error.
		if _, err := d.Output(ctx, "image", "rm", ref); err == nil {
			gone = append(gone, ref)
		} else if ctx.Err() != nil {
			return gone, fmt.Errorf("prune images: %w", context.Cause(ctx))
		}
	}
	return gone, nil
}

// superfluous lists the images that are neither kept nor below a kept one: an image
// is below another when its layers lead the other's.
func superfluous(layers map[string]string, keep []NodeImages) []string {
	var kept []string
	for _, k := range keep {
		kept = append(kept, k.ControlPlane, k.Worker, k.Probe)
	}
	var list []string
	for ref, own := range layers {
		if !slices.ContainsFunc(kept, func(k string) bool { return k == ref || strings.HasPrefix(layers[k], own) }) {
			list = append(list, ref)
		}
	}
	slices.Sort(list)
	return list
}
