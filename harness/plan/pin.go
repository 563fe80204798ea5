// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package plan

import (
	"context"
	"fmt"

	"github.com/lbmatrix/lbmatrix/harness/cluster/await"
	"github.com/lbmatrix/lbmatrix/harness/component"
)

// pinBackends moves the endpoints of the remote Service off the node that answers for its
// VIP, and those of the near Service onto the node that answers for its. That the VIPs stay
// where they are, the checks see.
func (w *worker) pinBackends(ctx context.Context, echo *component.Echo, services map[string]component.Service) error {
	for _, p := range []struct {
		service string
		pin     func(ctx context.Context, announcer string) (int, error)
		where   string
	}{
		{component.EchoRemote, echo.PinRemote, "elsewhere"},
		{component.EchoNear, echo.PinNear, "there"},
	} {
		announcer, err := w.waitAnnouncer(ctx, services[p.service].VIP.String())
		if err != nil {
			return err
		}
		n, err := p.pin(ctx, announcer)
		if err != nil {
			return err
		}
		w.progress("%s is announced by %s and has its %d backends %s", p.service, announcer, n, p.where)
	}
	return nil
}

// waitAnnouncer waits until one node alone answers for a VIP, and names it.
func (w *worker) waitAnnouncer(ctx context.Context, vip string) (string, error) {
	var announcer string
	wait := await.Wait{For: "a node to announce " + vip, Within: settleLimit}
	err := await.Until(ctx, wait, func(ctx context.Context) (bool, string, error) {
		found, err := w.env.Responders(ctx, []string{vip})
		if err != nil {
			return false, "", err
		}
		n, ok := w.env.Announcer(found[vip])
		announcer = n.Name
		return ok, fmt.Sprintf("answered by %v", found[vip]), nil
	})
	return announcer, err
}
