// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/journal"
)

// poolOf finds the pool whose addresses hold vip. A pool's entries are CIDRs or
// first-last ranges (MetalLB, IPAddressPool.spec.addresses).
func poolOf(pools []journal.Pool, vip string) (journal.Pool, bool, error) {
	addr, err := netip.ParseAddr(vip)
	if err != nil {
		return journal.Pool{}, false, fmt.Errorf("parse VIP: %w", err)
	}
	for _, p := range pools {
		for _, r := range p.Addresses {
			in, err := inRange(r, addr)
			if err != nil {
				return journal.Pool{}, false, fmt.Errorf("pool %s: %w", p.Name, err)
			}
			if in {
				return p, true, nil
			}
		}
	}
	return journal.Pool{}, false, nil
}

func inRange(r string, addr netip.Addr) (bool, error) {
	first, last, isRange := strings.Cut(r, "-")
	if !isRange {
		prefix, err := netip.ParsePrefix(strings.TrimSpace(r))
		return err == nil && prefix.Contains(addr), err
	}
	lo, err := netip.ParseAddr(strings.TrimSpace(first))
	if err != nil {
		return false, err
	}
	hi, err := netip.ParseAddr(strings.TrimSpace(last))
	return err == nil && lo.Compare(addr) <= 0 && addr.Compare(hi) <= 0, err
}

// advertises says whether an L2Advertisement selects a pool: by name or by label; one
// that names neither selects every pool (MetalLB, L2Advertisement.spec).
func advertises(a journal.L2Advertisement, pool journal.Pool) (bool, error) {
	selectors, err := labelSelectors(a.PoolSelectors)
	if err != nil {
		return false, fmt.Errorf("L2Advertisement %s: %w", a.Name, err)
	}
	if len(a.Pools) == 0 && len(selectors) == 0 {
		return true, nil
	}
	if slices.Contains(a.Pools, pool.Name) {
		return true, nil
	}
	for _, s := range selectors {
		if s.matches(pool.Labels) {
			return true, nil
		}
	}
	return false, nil
}

type labelSelector struct {
	MatchLabels      map[string]string `json:"matchLabels"`
	MatchExpressions []labelExpression `json:"matchExpressions"`
}

type labelExpression struct {
	Key      string   `json:"key"`
	Operator string   `json:"operator"`
	Values   []string `json:"values"`
}

func labelSelectors(raw json.RawMessage) ([]labelSelector, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	var out []labelSelector
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil, fmt.Errorf("decode label selectors: %w", err)
	}
	for _, s := range out {
		for _, e := range s.MatchExpressions {
			if !slices.Contains([]string{"In", "NotIn", "Exists", "DoesNotExist"}, e.Operator) {
				return nil, fmt.Errorf("unknown operator %q", e.Operator)
			}
		}
	}
	return out, nil
}

// matches follows metav1.LabelSelector: every requirement must hold; an absent key
// satisfies NotIn.
func (s labelSelector) matches(labels map[string]string) bool {
	for k, v := range s.MatchLabels {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	for _, e := range s.MatchExpressions {
		got, there := labels[e.Key]
		ok := false
		switch e.Operator {
		case "In":
			ok = there && slices.Contains(e.Values, got)
		case "NotIn":
			ok = !there || !slices.Contains(e.Values, got)
		case "Exists":
			ok = there
		case "DoesNotExist":
			ok = !there
		}
		if !ok {
			return false
		}
	}
	return true
}
