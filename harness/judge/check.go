// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// Check is one question that the matrix answers for every phase of a scenario.
type Check struct {
	ID     string // stable, kebab-case: the JUnit name
	Family string // prove, segment, traffic or latency
	Title  string
	Why    string   // the real failure it exists for
	Method string   // what is sampled, how it is decided and what can be missed
	Needs  []string // observations
	Codes  []string // what Verdict.Code can say; a pattern where it carries a number
	// Applies says whether a scenario is judged by the check; nil is every scenario.
	Applies func(scenario.Scenario) bool
	// Takeover says that it is judged only where VIPs change hands.
	Takeover bool
	// Judge is a pure function of its arguments.
	Judge func(journal.Facts, scenario.Scenario) Verdict
}

// Checks returns the catalogue, in the order in which cells are listed.
func Checks() []Check {
	all := catalogue()
	for i := range all {
		// Whatever is measured at a VIP can find that there is none.
		if slices.ContainsFunc(all[i].Needs, atVIPs) && !slices.Contains(all[i].Codes, codeUnassigned) {
			all[i].Codes = append(all[i].Codes, codeUnassigned)
		}
		if all[i].Family == familyLatency { // of a guest whose processor is emulated
			all[i].Codes = append(all[i].Codes, codeEmulated)
		}
	}
	return all
}

// atVIPs says whether an observation asks the VIPs.
func atVIPs(observation string) bool {
	return observation != journal.ObsNodes && observation != journal.ObsAnnouncement
}

func catalogue() []Check {
	return []Check{
		dataplaneActive(),
		leftoverDataplane(),
		strictARPApplied(),
		l2AdvertisementPresent(),
		forwardingEnabled(),
		singleResponder(),
		ndpSingleResponder(),
		moreVIPsAnswered(),
		responderIsAnnouncer(),
		announcerStatusAgrees(),
		unassignedAddressSilent(),
		noEndpointNotAnnounced(),
		gratuitousOnTakeover(),
		reachable("cluster"),
		reachable("local"),
		reachableIPv6(),
		backendOnAnnouncer(),
		backendOffAnnouncer(),
		everyBackendReached(),
		sourceAddress(),
		directServerReturn(),
		sessionAffinity(),
		udpEcho(),
		largeDatagrams(),
		inClusterToVIP(),
		connectLatency(),
		requestLatency(),
		throughput(),
	}
}

// IDs lists the catalogue's check IDs.
func IDs() []string {
	var ids []string
	for _, c := range Checks() {
		ids = append(ids, c.ID)
	}
	return ids
}

// For lists the IDs of the checks that a scenario's baseline is judged by.
func For(sc scenario.Scenario) []string {
	var ids []string
	for _, c := range Checks() {
		if !c.Takeover && (c.Applies == nil || c.Applies(sc)) {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// OnTakeover lists the IDs of the checks that are judged where VIPs change hands.
func OnTakeover() []string {
	var ids []string
	for _, c := range Checks() {
		if c.Takeover {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// Lookup finds a check.
func Lookup(id string) (Check, bool) {
	for _, c := range Checks() {
		if c.ID == id {
			return c, true
		}
	}
	return Check{}, false
}

// Observations lists the observations that the given checks need, in the order in
// which the catalogue first names them. Unknown checks need none.
func Observations(checks []string) []string {
	var out []string
	seen := map[string]bool{}
	for _, id := range checks {
		c, _ := Lookup(id)
		for _, o := range c.Needs {
			if !seen[o] {
				seen[o] = true
				out = append(out, o)
			}
		}
	}
	return out
}

// pass, fail and broken make verdicts; the message is formatted.
func pass(format string, args ...any) Verdict {
	return Verdict{Outcome: Passed, Code: "ok", Message: fmt.Sprintf(format, args...)}
}

func fail(code, format string, args ...any) Verdict {
	return Verdict{Outcome: Failed, Code: code, Message: fmt.Sprintf(format, args...)}
}

// codeUnassigned is the code of a Service that was given no load-balancer address.
const codeUnassigned = "vip-unassigned"

// codeEmulated is the code of times that say nothing of a real machine's.
const codeEmulated = "emulated"

// unassignedError is a Service that could not be asked for want of a VIP. The facts are
// whole: that is a failure of the load balancer, not of the harness.
type unassignedError struct{ service string }

func (e *unassignedError) Error() string {
	return fmt.Sprintf("Service %s has no load-balancer address", e.service)
}

// unannouncedError is a VIP that could not be measured for want of one announcer.
type unannouncedError struct{ journal.Unmeasured }

func (e *unannouncedError) Error() string {
	by := "nobody"
	if len(e.AnsweredBy) > 0 {
		by = strings.Join(e.AnsweredBy, ", ")
	}
	return fmt.Sprintf("%s (%s) is answered by %s, so it has no announcer whose NodePort it could be held against", e.VIP, e.Service, by)
}

// broken is the verdict where facts are missing; but a VIP, or an announcer, that is
// missing is a fact.
func broken(err error) Verdict {
	if u := (*unassignedError)(nil); errors.As(err, &u) {
		return fail(codeUnassigned, "%s", err)
	}
	if u := (*unannouncedError)(nil); errors.As(err, &u) {
		return fail("no-single-responder", "%s", err)
	}
	return Verdict{Outcome: Broken, Code: "no-data", Message: err.Error()}
}

func (v Verdict) found(findings ...Finding) Verdict {
	v.Findings = append(v.Findings, findings...)
	return v
}

func (v Verdict) with(figures ...Figure) Verdict {
	v.Figures = append(v.Figures, figures...)
	return v
}
