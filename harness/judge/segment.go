// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// minAnswered is the share of broadcasts that must have been answered: a speaker
// answers every one, and the rest is room for a busy machine.
const minAnswered = 0.9

func singleResponder() Check {
	return Check{
		ID: "single-responder", Family: "segment",
		Title: "Exactly one MAC answers ARP for every VIP",
		Why: "ipvs without strictARP makes every node answer (metallb #153, #2500), a partition makes two (metallb #589), " +
			"an excluded node or a missing advertisement makes none (metallb #2274).",
		Method: "The observer broadcasts limits.arpProbes who-has per VIP and counts distinct sender MACs; its receive socket is open " +
			"before the first send and the kernel's drops are read. Every node must answer 90 % of the who-has for its own address in the same sweep. " +
			"With n broadcasts a second responder that answers a share q of them is missed with probability (1-q)^n: the default of 460 finds one that " +
			"answers 1 in 100 with p >= 0.99, 50 one that answers 1 in 11; each verdict tells its own. The sweep begins when the answers have been the " +
			"same for limits.stableFor. What came before is tolerated and told as a finding: speakers that have not joined yet elect twice for 20-70 ms " +
			"at boot, a graceful handover gives 30-200 ms of two honest answers. So are second answers of the same MAC (kernel and speaker).",
		Needs: []string{journal.ObsARP},
		Codes: []string{"ok", "responders=N", "responders=N+M", "unanswered", "unstable"},
		Judge: func(f journal.Facts, _ scenario.Scenario) Verdict { return judgeResponders(f, journal.ObsARP) },
	}
}

func ndpSingleResponder() Check {
	return Check{
		ID: "ndp-single-responder", Family: "segment",
		Title: "Exactly one MAC answers neighbour solicitations for the IPv6 VIP",
		Why: "What ARP is to IPv4, neighbour discovery is to IPv6, and other code answers it: a speaker that cannot bind to the link's address answers nobody " +
			"while IPv4 works (metallb #2685), a node that does not join the solicited-node group of a VIP is never asked (cilium #44311), and a second machine " +
			"with the VIP answers beside the speaker (metallb #2404).",
		Method: "Judged where spec.cluster.ipFamily is dual. The observer multicasts limits.arpProbes neighbour solicitations for the VIP of a Service with " +
			"IPv6 alone, and counts the distinct link-layer addresses that advertise it (RFC 4861 7.2.4). Every node must answer 90 % of those for its own " +
			"address in the same sweep. A second responder that answers a share q of n solicitations is missed with probability (1-q)^n, as in single-responder.",
		Needs:   []string{journal.ObsNDP},
		Codes:   []string{"ok", "responders=N", "unanswered"},
		Applies: dualStack,
		Judge:   func(f journal.Facts, _ scenario.Scenario) Verdict { return judgeResponders(f, journal.ObsNDP) },
	}
}

// dualStack says whether a scenario has IPv6.
func dualStack(sc scenario.Scenario) bool { return sc.Spec.Cluster.DualStack() }

func judgeResponders(f journal.Facts, observation string) Verdict {
	s, err := readSweepOf(f, observation)
	if err != nil {
		return broken(err)
	}
	vips := s.kind(journal.TargetVIP)
	if len(vips) == 0 {
		return broken(fmt.Errorf("no VIP was asked for"))
	}
	asked := "broadcasts"
	if observation == journal.ObsNDP {
		asked = "solicitations"
	}
	v := pass("")
	var words []string
	var wrong []int // responders of the VIPs that have not just one
	unanswered := false
	for _, t := range vips {
		sent, macs := s.sent[t.Address], s.macs(t.Address)
		if sent == 0 {
			return broken(fmt.Errorf("no %s were sent for %s", asked, t.Address))
		}
		v = v.with(
			Figure{Name: t.Service + " responders", Value: float64(len(macs)), Unit: "MACs", N: int64(sent), Method: "distinct MACs that answer " + asked},
			Figure{Name: t.Service + " answered", Value: float64(s.answered[t.Address]), Unit: asked, N: int64(sent), Method: asked + " with at least one answer"},
		)
		words = append(words, fmt.Sprintf("%s (%s): %s", t.Address, t.Service, s.describe(macs)))
		switch {
		case len(macs) != 1:
			wrong = append(wrong, len(macs))
			if len(macs) > 1 {
				words = append(words, s.spans(t.Address))
			}
		case float64(s.answered[t.Address]) < minAnswered*float64(sent):
			unanswered = true
			words = append(words, fmt.Sprintf("only %d of %d %s were answered", s.answered[t.Address], sent, asked))
		}
	}
	switch {
	case len(wrong) > 0:
		v.Outcome, v.Code = Failed, responderCode(wrong)
	case unanswered:
		v.Outcome, v.Code = Failed, "unanswered"
	case s.restless() && !strings.HasPrefix(f.Name(), journal.PrefixMutation):
		v.Outcome, v.Code = Failed, "unstable"
		words = append(words, fmt.Sprintf("the answers had not been the same for %d ms when the wait for that ended", s.settle.WantedMS))
	}
	v = v.with(s.power(vips[0]))
	v.Findings = append(s.findings(), s.tolerated()...)
	v.Message = strings.Join(words, "; ")
	if v.Outcome == Passed {
		v.Message += fmt.Sprintf(". A second responder is seen with p >= 0.99 when it answers %.1f %% of %s or more",
			100*detectableShare(s.sent[vips[0].Address]), asked)
	}
	return v
}

// responderCode is the code for the counts of responders that are not 1: each count
// once, so that VIPs that are wrong in different ways do not pass for one fault.
func responderCode(counts []int) string {
	slices.Sort(counts)
	var words []string
	for _, n := range slices.Compact(counts) {
		words = append(words, strconv.Itoa(n))
	}
	return "responders=" + strings.Join(words, "+")
}

// describe names the responders of an address.
func (s sweep) describe(macs []string) string {
	if len(macs) == 0 {
		return "nobody answers"
	}
	var names []string
	for _, m := range macs {
		names = append(names, s.name(m))
	}
	return strings.Join(names, ", ")
}

func responderIsAnnouncer() Check {
	return Check{
		ID: "responder-is-announcer", Family: "segment",
		Title: "The responder is the node that MetalLB's election names",
		Why: "A stray host, a node outside the load balancer (exclude-from-external-load-balancers), or a node without an endpoint under " +
			"policy Local (cilium #27800) can answer just as well as the right one.",
		Method: "The MAC must be a node's; the node must be a candidate; and it must be first by sha256(node name + '#' + VIP), MetalLB's " +
			"election from 0.13.9 to 0.16.1 (speaker/layer2_controller.go). The harness computes it itself, once, from the MAC that the " +
			"whole sweep heard and the endpoints that the API server names beside it. It misses a wrong responder that single-responder misses.",
		Needs: []string{journal.ObsARP, journal.ObsAnnouncement},
		Codes: []string{"ok", "no-single-responder", "foreign-responder", "excluded-node", "no-local-endpoint", "not-elected"},
		Judge: func(f journal.Facts, _ scenario.Scenario) Verdict { return judgeAnnouncer(f) },
	}
}

func judgeAnnouncer(f journal.Facts) Verdict {
	s, err := readAnnounced(f)
	if err != nil {
		return broken(err)
	}
	var words []string
	for _, a := range s.vips {
		t, node := a.target, a.node
		switch {
		case a.mac == "":
			return fail("no-single-responder", "%s", a.told)
		case node.Name == "":
			return fail("foreign-responder", "%s (%s) is answered by %s, which is no node of this cluster", t.Address, t.Service, a.mac)
		case node.ExcludedFromLB:
			return fail("excluded-node", "%s (%s) is answered by %s, which is excluded from external load balancers", t.Address, t.Service, node.Name)
		}
		candidates := candidates(s.topo, s.objs, t.Service)
		if !slices.Contains(candidates, node.Name) {
			return fail("no-local-endpoint", "%s (%s) is answered by %s, which has no ready endpoint of it (policy Local; candidates: %s)",
				t.Address, t.Service, node.Name, cmp.Or(strings.Join(candidates, ", "), "none"))
		}
		if want := Elect(candidates, t.Address); want != node.Name {
			return fail("not-elected", "%s (%s) is answered by %s, the election names %s", t.Address, t.Service, node.Name, want)
		}
		words = append(words, fmt.Sprintf("%s (%s) on %s", t.Address, t.Service, node.Name))
	}
	return pass("%s: as elected", strings.Join(words, "; ")).with(
		Figure{Name: "VIPs as elected", Value: float64(len(s.vips)), Unit: "VIPs", N: int64(len(s.vips)), Method: "whose one responder is first by MetalLB's election"})
}

// announced is who answers for each VIP, beside what the API says of it.
type announced struct {
	sweep sweep
	topo  journal.Topology
	objs  journal.Objects
	vips  []vipAnswer
}

// vipAnswer is the one MAC that answers for a VIP ("" unless there is just one), the
// node that owns it (without a name where no node does), and all of it in words.
type vipAnswer struct {
	target journal.Target
	mac    string
	node   journal.Node
	told   string
}

func readAnnounced(f journal.Facts) (announced, error) {
	s, err := readSweep(f)
	if err != nil {
		return announced{}, err
	}
	out := announced{sweep: s, topo: s.topo}
	if out.objs, err = objects(f, journal.ObsAnnouncement); err != nil {
		return out, err
	}
	for _, t := range s.kind(journal.TargetVIP) {
		a := vipAnswer{target: t, told: fmt.Sprintf("%s (%s): %s", t.Address, t.Service, s.describe(s.macs(t.Address)))}
		if mac, ok := s.responder(t.Address); ok {
			a.mac = mac
			a.node, _ = nodeByMAC(s.topo, mac)
		}
		out.vips = append(out.vips, a)
	}
	if len(out.vips) == 0 {
		return out, fmt.Errorf("no VIP was asked for")
	}
	return out, nil
}

func announcerStatusAgrees() Check {
	return Check{
		ID: "announcer-status-agrees", Family: "segment",
		Title: "Event, ServiceL2Status and speaker metrics name the node that answers",
		Why: "Operators read the status, not the wire. MetalLB 0.15's ServiceL2Status can name a dead node for good after a failover " +
			"(status.node is immutable), and no MetalLB test checks that the sources agree.",
		Method: "The wire is the truth: who answers the sweep once the answers have been the same for limits.stableFor. Metrics must name the responder; before MetalLB 0.14.2 there is no status, and they alone. On the baseline the status must, too, unless nodeAssigned events show " +
			"a handover from the node it names (speakers elect anew while they join); that, and a stale status after a disturbance, is a finding. The nodeAssigned event is always only a finding: it may be repeated or missing by design.",
		Needs: []string{journal.ObsARP, journal.ObsAnnouncement},
		Codes: []string{"ok", "no-single-responder", "metrics", "l2status"},
		Judge: judgeStatus,
	}
}

func judgeStatus(f journal.Facts, sc scenario.Scenario) Verdict {
	s, err := readAnnounced(f)
	if err != nil {
		return broken(err)
	}
	// Without the kind there is no status to look at; with a MetalLB that has it, that is wrong.
	unstated := s.objs.NoL2Statuses && sc.MetalLBBefore(scenario.MetalLBStatuses)
	span, err := f.Observation(journal.ObsAnnouncement)
	if err != nil {
		return broken(err)
	}
	metrics, err := journal.Bodies[journal.SpeakerMetrics](span, journal.KindSpeakerMetrics)
	if err != nil {
		return broken(err)
	}
	if err := everySpeaker(metrics, s.topo); err != nil {
		return broken(err)
	}
	v := pass("")
	var words []string
	for _, a := range s.vips {
		t, node := a.target, a.node
		if node.Name == "" { // nobody, several, or no node
			return fail("no-single-responder", "%s", a.told).found(v.Findings...)
		}
		claims, err := announcedBy(metrics, t.Address)
		if err != nil {
			return broken(err)
		}
		if len(claims) != 1 || claims[0] != node.Name {
			return fail("metrics", "%s (%s) is answered by %s; metallb_speaker_announced names %s",
				t.Address, t.Service, node.Name, orNobody(claims)).found(v.Findings...)
		}
		if status := statusOf(s.objs, t.Service); status != node.Name && !unstated {
			msg := fmt.Sprintf("%s (%s) is answered by %s; ServiceL2Status names %s", t.Address, t.Service, node.Name, cmp.Or(status, "nobody"))
			stale := handedOver(s.objs, t.Service, status, node.Name)
			if f.Name() == journal.PhaseBaseline && !stale {
				return fail("l2status", "%s", msg).found(v.Findings...)
			}
			if stale {
				msg += ", the node before a handover (status.node is immutable)"
			}
			v.Findings = append(v.Findings, Finding{Component: "metallb", Message: msg})
		}
		if event, ok := lastAssigned(s.objs, t.Service); !ok || !strings.Contains(event, `"`+node.Name+`"`) {
			v.Findings = append(v.Findings, Finding{
				Component: "metallb",
				Message:   fmt.Sprintf("%s is answered by %s; the newest nodeAssigned event says %q", t.Service, node.Name, event),
			})
		}
		words = append(words, fmt.Sprintf("%s on %s", t.Service, node.Name))
	}
	v = v.with(Figure{Name: "speakers", Value: float64(len(metrics)), Unit: "speakers", N: int64(len(s.vips)), Method: "whose metrics were read once, for so many VIPs"})
	v.Message = strings.Join(words, "; ") + ": wire, metrics and status agree"
	if unstated {
		v.Message = strings.Join(words, "; ") + ": wire and metrics agree (this MetalLB has no ServiceL2Status)"
	}
	if len(v.Findings) > 0 {
		v.Message = strings.Join(words, "; ") + ": wire and metrics agree, see the findings"
	}
	return v
}

// everySpeaker says whether each node's speaker was heard: one that was not might claim
// a VIP too. Every recorded node runs a speaker in our scenarios.
func everySpeaker(metrics []journal.SpeakerMetrics, topo journal.Topology) error {
	for _, n := range topo.Nodes {
		heard := false
		for _, m := range metrics {
			if m.Node != n.Name {
				continue
			}
			if m.Error != "" {
				return fmt.Errorf("speaker metrics of %s: %s", m.Node, m.Error)
			}
			heard = heard || strings.Contains(m.Text, "metallb_")
		}
		if !heard {
			return fmt.Errorf("the speaker on %s gave no metrics of MetalLB", n.Name)
		}
	}
	return nil
}

func orNobody(names []string) string {
	if len(names) == 0 {
		return "nobody"
	}
	return strings.Join(names, ", ")
}
