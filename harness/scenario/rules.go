// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package scenario

import (
	"fmt"
	"strconv"
	"time"
)

// rule is what a field allows beyond its Go type. The loader and the schema are
// both made from it.
type rule struct {
	oneOf        []string // not nil: nothing else is allowed
	min, max     *float64
	above, below *float64 // exclusive bounds
	shortest     time.Duration
	longest      time.Duration
	maxLength    int
	minItems     int
	uniqueItems  bool
	pattern      string                                    // what the schema can say; check says it better
	check        func(string) (problem, suggestion string) // empty problem: the value is fine
}

// rules gives the rule of each field by its path. A path without one allows what
// its type allows.
func rules(known Options) map[string]rule {
	proxies := []string{string(ProxyIPTables), string(ProxyIPVS), string(ProxyNFTables), string(ProxyCilium)}
	name := rule{pattern: kebabPattern, check: checkKebab}
	checkID := rule{oneOf: known.Checks, pattern: kebabPattern, check: checkKebab}
	consequences := rule{uniqueItems: true}
	return map[string]rule{
		"apiVersion":                   {oneOf: []string{APIVersion}},
		"kind":                         {oneOf: []string{Kind}},
		"metadata.name":                {maxLength: maxName, pattern: kebabPattern, check: checkKebab},
		"metadata.title":               {maxLength: 120, pattern: linePattern, check: checkLine},
		"spec.dataPlane.proxy":         {oneOf: proxies},
		"spec.dataPlane.forwarding":    {oneOf: []string{string(ForwardingSNAT), string(ForwardingDSR), string(ForwardingHybrid)}},
		"spec.dataPlane.minSyncPeriod": {shortest: 100 * time.Millisecond, longest: 30 * time.Second},
		"spec.cluster.provider":        {oneOf: []string{ProviderAny, ProviderKind, ProviderNetns}},
		"spec.cluster.kubernetes":      {pattern: kubernetesPattern, check: checkKubernetes},
		"spec.cluster.ipFamily":        {oneOf: []string{string(IPv4), string(Dual)}},
		// One worker would be announcer and only backend: nothing could be off its announcer.
		"spec.cluster.workers":                     between(2, 120),
		"spec.cluster.cni":                         {oneOf: []string{string(CNIStatic), string(CNICilium)}},
		"spec.cluster.podSubnet":                   {pattern: cidrPattern, check: checkCIDR(8, smallestPods)},
		"spec.cluster.serviceSubnet":               {pattern: cidrPattern, check: checkCIDR(12, smallestServices)},
		"spec.components":                          {minItems: 1},
		"spec.components[].name":                   {maxLength: 53, pattern: kebabPattern, check: checkKebab},
		"spec.components[].version":                {pattern: versionPattern, check: checkVersion},
		"spec.components[].namespace":              {maxLength: 63, pattern: kebabPattern, check: checkKebab},
		"spec.components[].valuesFile":             {pattern: filePattern, check: checkFile},
		"spec.loadBalancer.poolSize":               between(leastPool, 1100),
		"spec.loadBalancer.moreServices":           between(0, 1000),
		"spec.backend.replicas":                    between(2, mostBackends),
		"spec.limits.arpProbes":                    between(5, 1000),
		"spec.limits.arpInterval":                  {shortest: time.Millisecond, longest: 5 * time.Second},
		"spec.limits.stableFor":                    {shortest: 100 * time.Millisecond, longest: 10 * time.Minute},
		"spec.limits.gratuitousWithin":             {shortest: time.Millisecond, longest: time.Minute},
		"spec.limits.requests":                     between(20, 100000),
		"spec.limits.requestRate":                  between(1, 2000),
		"spec.limits.latencyRequests":              between(200, 1000000),
		"spec.limits.inClusterRequests":            between(10, 10000),
		"spec.limits.exchanges":                    between(5, 1000),
		"spec.limits.transfers":                    between(10, 1000),
		"spec.limits.transferRatioP50":             {above: new(1.0), max: new(1000.0)},
		"spec.limits.transferRatioP90":             {above: new(1.0), max: new(1000.0)},
		"spec.limits.maxErrorRatio":                between(0, 1),
		"spec.limits.latencyRatioP50":              {above: new(1.0), max: new(1000.0)},
		"spec.limits.latencyRatioP90":              {above: new(1.0), max: new(1000.0)},
		"spec.limits.maxLateRatio":                 {above: new(0.0), max: new(1.0)},
		"spec.limits.backendSkewAlpha":             {above: new(0.0), below: new(1.0)},
		"spec.expect[].check":                      checkID,
		"spec.expect[].code":                       {maxLength: 120, pattern: codePattern, check: checkCode},
		"spec.expect[].consequences":               consequences,
		"spec.expect[].consequences[]":             checkID,
		"spec.mutations[].name":                    {oneOf: known.Mutations, pattern: name.pattern, check: name.check},
		"spec.mutations[].expect":                  {minItems: 1},
		"spec.mutations[].expect[].check":          checkID,
		"spec.mutations[].expect[].code":           {maxLength: 120, pattern: codePattern, check: checkCode},
		"spec.mutations[].expect[].consequences":   consequences,
		"spec.mutations[].expect[].consequences[]": checkID,
	}
}

// mostBackends is as many as there may be workers.
const mostBackends = 120

// leastPool is an address for each of the six Services under test, and one that stays free.
const leastPool = 7

// between allows both bounds.
func between(low, high float64) rule { return rule{min: &low, max: &high} }

// contains tells whether a number is allowed.
func (r rule) contains(n float64) bool {
	return (r.min == nil || n >= *r.min) && (r.max == nil || n <= *r.max) &&
		(r.above == nil || n > *r.above) && (r.below == nil || n < *r.below)
}

// span says which numbers are allowed.
func (r rule) span() string {
	number := func(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }
	switch {
	case r.min != nil && r.max != nil:
		return number(*r.min) + " to " + number(*r.max)
	case r.above != nil && r.max != nil:
		return "above " + number(*r.above) + " to " + number(*r.max)
	case r.above != nil && r.below != nil:
		return "above " + number(*r.above) + " and below " + number(*r.below)
	default:
		return "any number"
	}
}

// text checks a string.
func (r rule) text(s string) (problem, suggestion string) {
	if r.oneOf != nil {
		for _, allowed := range r.oneOf {
			if s == allowed {
				return "", ""
			}
		}
		return fmt.Sprintf("unknown value %q", clip(s)), Suggest(s, r.oneOf)
	}
	if r.check != nil {
		if problem, suggestion = r.check(s); problem != "" {
			return problem, suggestion
		}
	}
	if n := len([]rune(s)); r.maxLength > 0 && n > r.maxLength {
		return fmt.Sprintf("%d characters are too many", n), fmt.Sprintf("allowed: at most %d", r.maxLength)
	}
	return "", ""
}
