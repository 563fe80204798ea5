// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/journal"
	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

func largeDatagrams() Check {
	return Check{
		ID: "large-datagrams", Family: "traffic",
		Title: "Large datagrams and large responses pass whole",
		Why: "What a path adds does not fit an MTU that it was not counted in: DSR's IP option and Geneve's header lost or reset what filled it, with " +
			"nothing counted as a drop (cilium #33609, #26723, #45076, #32601: UDP of 1500 bytes).",
		Method: "Through the VIP whose backends are all off its announcer: limits.exchanges datagrams each of 1400, 1472 (an MTU of 1500 filled) and 8000 " +
			"bytes (fragments), which the backend sends back, and as many responses of 1 MiB. Every byte is held to a pattern without repetition. The control is " +
			"as many datagrams of 32 bytes, which nothing drops for their size. The code names the smallest size that is lost or comes back wrong. A share q of " +
			"n exchanges that is lost is missed with probability (1-q)^n: with the default of 20 a share of 21 % is seen with p >= 0.99.",
		Needs: []string{journal.ObsPayloads, journal.ObsAnnouncement},
		Codes: []string{"ok", "unreachable", "lost=N", "corrupt=N", "response-lost", "response-corrupt"},
		Judge: judgePayloads,
	}
}

// controlBytes is the most that a datagram may have to count as the control: no path of
// IPv4 may refuse 68 bytes with its header (RFC 791).
const controlBytes = 40

func judgePayloads(f journal.Facts, sc scenario.Scenario) Verdict {
	objs, err := objects(f, journal.ObsAnnouncement)
	if err != nil {
		return broken(err)
	}
	remote, err := service(objs, forRemote)
	if err != nil {
		return broken(err)
	}
	if len(readyBackends(objs, remote.Name)) == 0 {
		return broken(fmt.Errorf("%s has no ready backend", remote.Name))
	}
	all, err := readExchanges(f, journal.ObsPayloads, journal.StreamPayloads)
	if err != nil {
		return broken(err)
	}
	slices.SortStableFunc(all, func(a, b exchanged) int {
		return cmp.Or(-cmp.Compare(a.target.Protocol, b.target.Protocol), cmp.Compare(a.target.Bytes, b.target.Bytes))
	})
	v := pass("")
	wrong, limit := Verdict{}, sc.Spec.Limits.MaxErrorRatio
	var words []string
	kinds := map[string]int{} // control, udp, http -> targets
	for _, e := range all {
		n := len(e.results)
		what, kind := fmt.Sprintf("%d bytes by UDP", e.target.Bytes), e.target.Protocol
		switch {
		case e.target.Protocol == probe.ExchangeHTTP:
			what = fmt.Sprintf("a response of %d bytes", e.target.Bytes)
		case e.target.Bytes <= controlBytes:
			kind = "control"
		}
		kinds[kind]++
		v = v.with(Figure{Name: what + " failed", Value: float64(e.failed), Unit: "exchanges", N: int64(n), Method: "sent, and every byte of the answer checked"})
		words = append(words, fmt.Sprintf("%s %d of %d", what, n-e.failed, n))
		if code := payloadCode(e, kind, limit); code != "" && wrong.Code == "" {
			wrong = fail(code, "%s through %s: %d of %d failed (%s); the first: %s", what, remote.VIP, e.failed, n, errorWords(e.kinds), e.first)
		}
	}
	if kinds["control"] == 0 || kinds[probe.ExchangeUDP] < 3 || kinds[probe.ExchangeHTTP] == 0 {
		return broken(fmt.Errorf("the exchanges lack the control, a size of datagram or the large response: %s", strings.Join(words, ", ")))
	}
	if wrong.Code != "" {
		return wrong.with(v.Figures...)
	}
	v.Message = fmt.Sprintf("%s came back whole; a share of %.0f %% that is lost is seen with p >= 0.99", strings.Join(words, ", "), 100*detectableShare(len(all[0].results)))
	return v
}

// payloadCode is the code for the exchanges with one target, "" where they are as they
// must be. One byte that is wrong is too many; loss has its limit.
func payloadCode(e exchanged, kind string, limit float64) string {
	corrupt := e.kinds[probe.ErrorCorrupt] > 0
	switch {
	case !corrupt && !e.tooMany(limit):
		return ""
	case kind == "control" && e.failed == len(e.results):
		return "unreachable"
	case kind == probe.ExchangeHTTP && corrupt:
		return "response-corrupt"
	case kind == probe.ExchangeHTTP:
		return "response-lost"
	case corrupt:
		return fmt.Sprintf("corrupt=%d", e.target.Bytes)
	}
	return fmt.Sprintf("lost=%d", e.target.Bytes)
}
