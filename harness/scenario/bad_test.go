// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package scenario_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// change is one way to spoil the good scenario: old becomes new.
type change struct{ name, old, new string }

func changes() []change {
	whole := func(name, text string) change { return change{name, good, text} }
	return []change{
		whole("empty file", ""),
		whole("only a comment", "# nothing\n"),
		whole("only a document start", "---\n"),
		whole("a list", "- a\n- b\n"),
		whole("nothing in it", "{}\n"),
		whole("bad syntax", "apiVersion: [\nkind: Scenario\n"),
		whole("tab as indent", "metadata:\n\tname: x\n"),
		whole("not UTF-8", "kind: Scenario\nmetadata: \xff\n"),
		whole("too large", strings.Repeat("#", scenario.MaxSize+1)),
		whole("two documents", good+"---\n"+good),
		whole("bad second document", good+"---\n[\n"),
		{"alias and anchor", "workers: 2\n    cni: static", "workers: &n 2\n    cni: *n"},
		{"merge key", "    cni: static", "    <<: {cni: static}"},
		{"wrong apiVersion", "lbmatrix/v1alpha1", "lbmatrix/v1alpha2"},
		{"wrong kind", "kind: Scenario", "kind: Deployment"},
		{"unknown field, close", "workers: 2", "wokers: 2"},
		{"unknown field, case", "dataPlane:", "dataplane:"},
		{"unknown field, far", "    cni: static", "    cni: static\n    colour: red"},
		{"unknown field, elsewhere", "  loadBalancer: {}", "  loadBalancer: {}\n  requestRate: 10"},
		{"key that is no name", "    cni: static", "    cni: static\n    [a, b]: c"},
		{"duplicate key", "    cni: static", "    cni: static\n    workers: 3"},
		{"missing required field", "  title: A good one\n", ""},
		{"missing in list", "      version: v0.15.2\n", ""},
		{"required field empty", "cni: static", "cni:"},
		{"optional field null", "arpProbes: 20", "arpProbes: ~"},
		{"string for integer", "workers: 2", "workers: two"},
		{"float for integer", "workers: 2", "workers: 2.5"},
		{"octal integer", "workers: 2", "workers: 02"},
		{"integer too large", "workers: 2", "workers: 99999999999999999999"},
		{"number for string", "title: A good one", "title: 2026"},
		{"float for version", "kubernetes: v1.35.4", "kubernetes: 1.35"},
		{"boolean as yes", "    cni: static", "    cni: static\n    controlPlaneAnnounces: yes"},
		{"mapping for list", "  components:\n    - name: metallb\n      version: v0.15.2\n      namespace: metallb-system\n      values:\n        speaker: {frr: {enabled: false}}\n", "  components: {name: metallb}\n"},
		{"list for mapping", "loadBalancer: {}", "loadBalancer: []"},
		{"no components", "  components:\n    - name: metallb\n      version: v0.15.2\n      namespace: metallb-system\n      values:\n        speaker: {frr: {enabled: false}}\n", "  components: []\n"},
		{"custom tag", "title: A good one", "title: !secret A"},
		{"name not kebab", "name: good-one", "name: Good_One"},
		{"name too long", "name: good-one", "name: " + strings.Repeat("abcd-", 10) + "x"},
		{"title on two lines", "title: A good one", `title: "A\ngood one"`},
		{"proxy close", "proxy: iptables", "proxy: iptable"},
		{"proxy far", "proxy: iptables", "proxy: userspace"},
		{"cilium without its CNI", "proxy: iptables", "proxy: cilium"},
		{"cilium without the component", "cni: static", "cni: cilium"},
		{"kube-proxy with DSR", "proxy: iptables", "proxy: iptables\n    forwarding: dsr"},
		{"more Services than addresses", "loadBalancer: {}", "loadBalancer:\n    poolSize: 50\n    moreServices: 44"},
		{"minSyncPeriod without kube-proxy", "proxy: iptables", "proxy: cilium\n    minSyncPeriod: 2s"},
		{"minSyncPeriod too long", "proxy: iptables", "proxy: iptables\n    minSyncPeriod: 5m"},
		{"IPv6 on containers", "workers: 2", "workers: 2\n    ipFamily: dual"},
		{"IPv6 to break where there is none", "name: no-l2-advertisement", "name: ipv6-forwarding-off"},
		{"no such family", "workers: 2", "workers: 2\n    ipFamily: ipv6"},
		{"strictARP without ipvs", "proxy: iptables", "proxy: iptables\n    strictARP: true"},
		{"known-bad with mutations", "  mutations:", "  expect:\n    - {check: single-responder, code: responders=2, consequences: [single-responder]}\n  mutations:"},
		{"version without v", "v1.35.4", "\"1.35.4\""},
		{"component version", "v0.15.2", "latest"},
		{"pod subnet too small for the nodes", "workers: 2\n    cni: static", "workers: 16\n    cni: static\n    podSubnet: 10.0.0.0/20"},
		{
			"Service subnet too small for more",
			"    cni: static\n  components:\n    - name: metallb\n      version: v0.15.2\n      namespace: metallb-system\n      values:\n        speaker: {frr: {enabled: false}}\n  loadBalancer: {}",
			"    cni: static\n    serviceSubnet: 10.97.0.0/24\n  components:\n    - name: metallb\n      version: v0.15.2\n      namespace: metallb-system\n      values:\n        speaker: {frr: {enabled: false}}\n  loadBalancer: {poolSize: 400, moreServices: 300}",
		},
		{
			"fewer backends than workers", "proxy: iptables\n  cluster:\n    kubernetes: v1.35.4\n    workers: 2",
			"proxy: iptables\n  backend:\n    replicas: 2\n  cluster:\n    kubernetes: v1.35.4\n    workers: 3",
		},
		{"bad CIDR", "    cni: static", "    cni: static\n    podSubnet: 10.244.0.0"},
		{"IPv6 CIDR", "    cni: static", "    cni: static\n    podSubnet: fd00::/64"},
		{"IPv6 Service CIDR", "    cni: static", "    cni: static\n    serviceSubnet: fd00:10:96::/112"},
		{"host bits", "    cni: static", "    cni: static\n    podSubnet: 10.244.1.0/16"},
		{"small CIDR", "    cni: static", "    cni: static\n    podSubnet: 10.244.1.0/24"},
		{"loopback CIDR", "    cni: static", "    cni: static\n    podSubnet: 127.0.0.0/16"},
		{"subnets overlap", "    cni: static", "    cni: static\n    podSubnet: 10.0.0.0/16\n    serviceSubnet: 10.0.128.0/20"},
		{"subnet overlaps default", "    cni: static", "    cni: static\n    podSubnet: 10.96.0.0/12"},
		{"limit too low", "arpProbes: 20", "arpProbes: 4"},
		{"written zero", "arpProbes: 20", "arpProbes: 0"},
		{"ratio out of range", "maxErrorRatio: 0", "maxErrorRatio: 1.5"},
		{"ratio not above", "maxErrorRatio: 0", "latencyRatioP50: 1"},
		{"ratio zero would be the default", "maxErrorRatio: 0", "maxLateRatio: 0"},
		{"ratio infinite", "maxErrorRatio: 0", "latencyRatioP50: .inf"},
		{"ratio not a number", "maxErrorRatio: 0", "maxErrorRatio: .nan"},
		{"duration without unit", "arpInterval: 10ms", "arpInterval: 10"},
		{"duration misspelt", "arpInterval: 10ms", "arpInterval: 10 ms"},
		{"duration negative", "arpInterval: 10ms", "arpInterval: -10ms"},
		{"duration too long", "arpInterval: 10ms", "arpInterval: 6s"},
		{"unknown mutation", "name: no-l2-advertisement", "name: no-l2-advertisment"},
		{"unknown check", "check: single-responder", "check: single-responders"},
		{"unknown consequence", "[request-latency]", "[request-latency, made-up]"},
		{"consequence twice", "[request-latency]", "[request-latency, request-latency]"},
		{"consequence is the check", "[request-latency]", "[single-responder]"},
		{"bad code", "responders=0", "no responders"},
		{"nobody expected", "      expect:\n        - check: single-responder\n          code: responders=0\n          consequences: [request-latency]\n", "      expect: []\n"},
		{"component twice", "  loadBalancer: {}", "    - {name: metallb, version: v1.0.0, namespace: x}\n  loadBalancer: {}"},
		{"values: duplicate key", "{frr: {enabled: false}}", "{frr: 1, frr: 2}"},
		{"values: old boolean", "enabled: false", "enabled: no"},
		{"values: not JSON", "enabled: false", "enabled: .inf"},
		{"values: binary", "enabled: false", "enabled: !!binary aGk="},
		{"values: null key", "enabled: false", "~: false"},
		{"values: too deep", "{frr: {enabled: false}}", strings.Repeat("[", 120) + strings.Repeat("]", 120)},
		{"values file missing", "      values:", "      valuesFile: metalb.values.yaml\n      values:"},
		{"values file escapes", "      values:", "      valuesFile: ../metallb.values.yaml\n      values:"},
		{"values file absolute", "      values:", "      valuesFile: /etc/metallb.yaml\n      values:"},
		{"values file no YAML", "      values:", "      valuesFile: metallb.json\n      values:"},
		{"values file is a directory", "      values:", "      valuesFile: dir.yaml\n      values:"},
		{"values file bad inside", "      values:", "      valuesFile: bad.values.yaml\n      values:"},
		{"values file bad syntax", "      values:", "      valuesFile: broken.values.yaml\n      values:"},
		{"several at once", "  name: good-one\n  title: A good one\nspec:\n  dataPlane:\n    proxy: iptables\n", "  nam: x\nspec:\n  dataPlane:\n    proxy: ipsv\n    forwarding: dsr\n    forwardin: dsr\n"},
		{"long line", "title: A good one", "title: {" + strings.Repeat("a, ", 60) + "b: c}"},
	}
}

// files stand beside the scenario of the tests.
func files() fstest.MapFS {
	return fstest.MapFS{
		"metallb.values.yaml": {Data: []byte("speaker: {frr: {enabled: true, port: 7}, logLevel: info}\ncontroller: {logLevel: debug}\n")},
		"bad.values.yaml":     {Data: []byte("# values\nspeaker:\n  enabled: yes\n  a: 1\n  a: 2\n")},
		"broken.values.yaml":  {Data: []byte("speaker:\n  - a\n b\n")},
		"dir.yaml/x.yaml":     {Data: []byte("a: b\n")},
	}
}

func TestBadScenarios(t *testing.T) {
	var out strings.Builder
	opts := known()
	opts.Files = files()
	for _, c := range changes() {
		t.Run(c.name, func(t *testing.T) {
			require.Contains(t, good, c.old)
			text := strings.Replace(good, c.old, c.new, 1)
			s, err := scenario.Load("dir/bad.yaml", []byte(text), opts)
			require.Error(t, err)
			assert.Nil(t, s)
			var all scenario.Errors
			require.ErrorAs(t, err, &all)
			var one *scenario.Error
			require.ErrorAs(t, fmt.Errorf("wrapped: %w", err), &one)
			assert.Same(t, all[0], one)
			fmt.Fprintf(&out, "== %s\n%s\n\n", c.name, err)
		})
	}
	golden(t, "testdata/bad.golden", out.String())
}

// A values file needs a directory to be in.
func TestValuesFileWithoutDirectory(t *testing.T) {
	text := strings.Replace(good, "      values:", "      valuesFile: a.yaml\n      values:", 1)
	_, err := scenario.Load("x.yaml", []byte(text), scenario.Options{})
	var one *scenario.Error
	require.True(t, errors.As(err, &one))
	assert.Equal(t, `x.yaml:17:19: values file "a.yaml" can't be read without a directory; load the scenario from its file`, one.Error())
}

// A long line with an error every few characters once took minutes: each error
// copied the whole line.
func TestManyErrorsOnOneLine(t *testing.T) {
	text := strings.Replace(good, "[request-latency]", "["+strings.Repeat("abcdefgh, ", 20000)+"x]", 1)
	start := time.Now()
	_, err := scenario.Load("x.yaml", []byte(text), known())
	var all scenario.Errors
	require.ErrorAs(t, err, &all)
	assert.Greater(t, len(all), 20000)
	assert.Less(t, time.Since(start), 20*time.Second)
}
