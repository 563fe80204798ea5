// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge

import (
	"fmt"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

func unassignedAddressSilent() Check {
	return Check{
		ID: "unassigned-address-silent", Family: "segment",
		Title: "Nobody answers ARP for an address that no Service has",
		Why: "Proxy ARP, a pool that overlaps addresses in use (kind #3167, metallb #2404), or a VIP that a released Service left on a node answer " +
			"for an address that will be given out next: the Service that gets it has two owners from its first packet.",
		Method: "In the sweep of single-responder the observer also asks for the highest address of the pool that no Service was given and for an address " +
			"outside the pool, limits.arpProbes times each. Not one answer may come; every node must answer for its own address in the same sweep. An " +
			"answerer of a share q of n broadcasts is missed with probability (1-q)^n. Says nothing of the pool's other free addresses.",
		Needs: []string{journal.ObsARP},
		Codes: []string{"ok", "answered-in-pool", "answered-outside-pool", "answered-everywhere"},
		Judge: func(f journal.Facts, _ scenario.Scenario) Verdict { return judgeUnassigned(f) },
	}
}

func judgeUnassigned(f journal.Facts) Verdict {
	s, err := readSweep(f)
	if err != nil {
		return broken(err)
	}
	v := pass("")
	var words []string
	answered := map[string]bool{}
	for _, where := range []struct{ kind, words string }{
		{journal.TargetSpare, "in the pool"}, {journal.TargetUnassigned, "outside the pool"},
	} {
		asked := s.kind(where.kind)
		if len(asked) == 0 {
			return broken(fmt.Errorf("no unassigned address %s was asked for", where.words))
		}
		for _, t := range asked {
			told, figures, err := s.silence(t, where.words)
			if err != nil {
				return broken(err)
			}
			v = v.with(figures...)
			words = append(words, told)
			answered[where.kind] = answered[where.kind] || len(s.macs(t.Address)) > 0
		}
	}
	switch in, out := answered[journal.TargetSpare], answered[journal.TargetUnassigned]; {
	case in && out:
		v.Outcome, v.Code = Failed, "answered-everywhere"
	case in:
		v.Outcome, v.Code = Failed, "answered-in-pool"
	case out:
		v.Outcome, v.Code = Failed, "answered-outside-pool"
	}
	v.Message = strings.Join(words, "; ")
	return v
}

// silence says who answered for an address that nobody is to answer for.
func (s sweep) silence(t journal.Target, what string) (string, []Figure, error) {
	sent, macs := s.sent[t.Address], s.macs(t.Address)
	if sent == 0 {
		return "", nil, fmt.Errorf("no who-has was sent for %s", t.Address)
	}
	figure := Figure{Name: t.Address + " responders", Value: float64(len(macs)), Unit: "MACs", N: int64(sent), Method: "distinct sender MACs over broadcast who-has"}
	return fmt.Sprintf("%s (%s): %s", t.Address, what, s.describe(macs)), []Figure{figure, s.power(t)}, nil
}

func noEndpointNotAnnounced() Check {
	return Check{
		ID: "no-endpoint-not-announced", Family: "segment",
		Title: "Nobody answers for a Service of policy Local without endpoints",
		Why: "A node that attracts traffic for which it has no endpoint drops it: Cilium's L2 announcements announced from nodes without endpoints " +
			"(cilium #27800, #27521). MetalLB announces a Service only while it has a ready endpoint, under policy Local on a node that has one " +
			"(speaker/layer2_controller.go).",
		Method: "A Service of policy Local that got its address and whose selector matches no pod is asked for in the sweep of single-responder, " +
			"limits.arpProbes times. Not one answer may come. In the same sweep the Service of policy Local that has endpoints must be answered, or silence " +
			"proves nothing. An answerer of a share q of n broadcasts is missed with probability (1-q)^n.",
		Needs: []string{journal.ObsARP, journal.ObsAnnouncement},
		Codes: []string{"ok", "responders=N"},
		Judge: func(f journal.Facts, _ scenario.Scenario) Verdict { return judgeIdle(f) },
	}
}

func judgeIdle(f journal.Facts) Verdict {
	s, err := readAnnounced(f)
	if err != nil {
		return broken(err)
	}
	idle, err := service(s.objs, journal.RoleIdle)
	if err != nil {
		return broken(err)
	}
	switch {
	case idle.VIP == "":
		return broken(fmt.Errorf("service %s has no load-balancer address", idle.Name))
	case idle.ExternalTrafficPolicy != "Local":
		return broken(fmt.Errorf("service %s has policy %s and not Local", idle.Name, idle.ExternalTrafficPolicy))
	case len(readyBackends(s.objs, idle.Name)) > 0:
		return broken(fmt.Errorf("service %s has %d ready endpoints and should have none", idle.Name, len(readyBackends(s.objs, idle.Name))))
	}
	control, err := service(s.objs, forLocal)
	if err != nil {
		return broken(err)
	}
	if len(s.sweep.macs(control.VIP)) == 0 {
		return broken(fmt.Errorf("positive control: nobody answers for %s (%s), which has endpoints, so silence proves nothing", control.VIP, control.Name))
	}
	for _, t := range s.sweep.kind(journal.TargetIdle) {
		if t.Service != idle.Name || t.Address != idle.VIP {
			continue
		}
		told, figures, err := s.sweep.silence(t, idle.Name+", policy Local, no endpoint")
		if err != nil {
			return broken(err)
		}
		if n := len(s.sweep.macs(t.Address)); n > 0 {
			return fail(fmt.Sprintf("responders=%d", n), "%s", told).with(figures...)
		}
		return pass("%s", told).with(figures...)
	}
	return broken(fmt.Errorf("nobody was asked who answers for %s (%s)", idle.VIP, idle.Name))
}
