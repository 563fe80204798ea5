// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package plan

import (
	"context"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/component"
	"github.com/lbmatrix/lbmatrix/harness/pace"
)

// pinBackends moves the endpoints of the remote Service off the node that answers for its
// VIP, and those of the near Service onto the node that answers for its, on a segment that
// has settled: speakers that have not joined yet elect another node. Without a single
// announcer there is no such node, and the checks say so. That the VIPs stay where they
// are, they see too.
func (w *worker) pinBackends(ctx context.Context) error {
	for _, p := range []struct {
		service string
		pin     func(ctx context.Context, announcer string) (int, error)
		where   string
	}{
		{component.EchoRemote, w.echo.PinRemote, "elsewhere"},
		{component.EchoNear, w.echo.PinNear, "there"},
	} {
		announcer, err := w.env.AnnouncerOf(ctx, p.service)
		if ctx.Err() != nil {
			return err
		}
		if err != nil {
			if err := w.note("pin "+p.service, err.Error()); err != nil {
				return err
			}
			continue
		}
		n, err := p.pin(ctx, announcer)
		if err != nil {
			return err
		}
		w.progress("%s is announced by %s and has its %d backends %s", p.service, announcer, n, p.where)
	}
	return w.programmed(ctx)
}

// programmed waits where kube-proxy may take longer than by itself until it writes what has
// just changed. Otherwise the observations that come before traffic take that time.
func (w *worker) programmed(ctx context.Context) error {
	period := w.Scenario.Spec.DataPlane.MinSyncPeriod.D()
	if period == 0 {
		return nil
	}
	w.progress("wait until every kube-proxy has written its rules: it does at most every %s", period)
	select {
	case <-time.After(period + pace.Scale(ctx, programmedSlack+time.Duration(1+w.Scenario.Spec.Cluster.Workers)*programmedPerNode)):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// What a kube-proxy may need for the rules themselves, and for those that it is just writing:
// with 30 nodes on two cores one write took 2.5 s (docs/running.md, Scale).
const (
	programmedSlack   = 2 * time.Second
	programmedPerNode = 100 * time.Millisecond
)
