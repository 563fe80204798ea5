// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package scenario_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

func load(t *testing.T, text string, opts scenario.Options) *scenario.Scenario {
	t.Helper()
	s, err := scenario.Load("good.yaml", []byte(text), opts)
	require.NoError(t, err)
	return s
}

func TestLoadGood(t *testing.T) {
	for name, text := range map[string]string{
		"as it is": good, "windows": strings.ReplaceAll(good, "\n", "\r\n"), "byte order mark": "\uFEFF" + good,
		"document start": "---\n" + good + "...\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := load(t, text, known())
			assert.Equal(t, "good-one", s.Metadata.Name)
			assert.Equal(t, 20, s.Spec.Limits.ARPProbes)
			assert.Equal(t, 10*time.Millisecond, s.Spec.Limits.ARPInterval.D())
			assert.Equal(t, map[string]any{"speaker": map[string]any{"frr": map[string]any{"enabled": false}}}, s.Spec.Components[0].Values)
			// Load gives it resolved.
			assert.Equal(t, 2*time.Second, s.Spec.Limits.StableFor.D())
			assert.Equal(t, "10.244.0.0/16", s.Spec.Cluster.PodSubnet)
			assert.Equal(t, scenario.ForwardingSNAT, s.Spec.DataPlane.Forwarding)
			again := *s
			again.SetDefaults()
			assert.Equal(t, *s, again)
		})
	}
}

func TestValuesWinOverTheirFile(t *testing.T) {
	opts := known()
	opts.Files = files()
	s := load(t, strings.Replace(good, "      values:", "      valuesFile: metallb.values.yaml\n      values:", 1), opts)
	assert.Empty(t, s.Spec.Components[0].ValuesFile)
	assert.Equal(t, map[string]any{
		"speaker":    map[string]any{"frr": map[string]any{"enabled": false, "port": 7}, "logLevel": "info"},
		"controller": map[string]any{"logLevel": "debug"},
	}, s.Spec.Components[0].Values)

	plain, err := load(t, good, known()).Digest()
	require.NoError(t, err)
	merged, err := s.Digest()
	require.NoError(t, err)
	assert.NotEqual(t, plain, merged, "the content of a values file is part of the digest")
}

func TestMergeValues(t *testing.T) {
	under := map[string]any{"a": map[string]any{"x": 1, "y": 2}, "b": []any{1, 2}, "c": "text", "d": 1}
	over := map[string]any{"a": map[string]any{"y": 3}, "b": []any{9}, "c": map[string]any{"z": 1}, "d": nil}
	merged := scenario.MergeValues(under, over)
	assert.Equal(t, map[string]any{
		"a": map[string]any{"x": 1, "y": 3}, "b": []any{9}, "c": map[string]any{"z": 1}, "d": nil,
	}, merged)
	assert.Equal(t, 2, under["a"].(map[string]any)["y"], "under must not change")
}

func TestLoadFile(t *testing.T) {
	dir := t.TempDir()
	inner := filepath.Join(dir, "scenarios")
	require.NoError(t, os.Mkdir(inner, 0o755))
	name := filepath.Join(inner, "good.yaml")
	text := strings.Replace(good, "      values:", "      valuesFile: link.yaml\n      values:", 1)
	require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "secret.yaml"), []byte("a: 1\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(inner, "beside.yaml"), []byte("a: 1\n"), 0o644))

	require.NoError(t, os.Symlink("../secret.yaml", filepath.Join(inner, "link.yaml")))
	_, err := scenario.LoadFile(name, known())
	require.ErrorContains(t, err, name+`:17:19: values file "link.yaml" can't be read: path escapes from parent`)

	require.NoError(t, os.Remove(filepath.Join(inner, "link.yaml")))
	require.NoError(t, os.Symlink("beside.yaml", filepath.Join(inner, "link.yaml")))
	s, err := scenario.LoadFile(name, known())
	require.NoError(t, err)
	assert.Equal(t, 1, s.Spec.Components[0].Values["a"])

	_, err = scenario.LoadFile(filepath.Join(dir, "none.yaml"), known())
	require.ErrorIs(t, err, os.ErrNotExist)
	assert.True(t, strings.HasPrefix(err.Error(), "load scenario "), err.Error())
	_, err = scenario.LoadFile(inner, known())
	require.ErrorContains(t, err, "not a regular file")
}

func TestSuggest(t *testing.T) {
	names := []string{"single-responder", "request-latency"}
	assert.Equal(t, `did you mean "single-responder"?`, scenario.Suggest("single-repsonder", names))
	assert.Equal(t, "allowed: single-responder, request-latency", scenario.Suggest("xyz", names))
	assert.Equal(t, "none is known", scenario.Suggest("xyz", nil))
}

func TestDigestStableUnderKeyOrderAndDefaults(t *testing.T) {
	want, err := load(t, good, known()).Digest()
	require.NoError(t, err)
	require.Len(t, want, 64)
	reordered := strings.Replace(good, "  name: good-one\n  title: A good one\n", "  title: A good one\n  name: good-one\n", 1)
	reordered = strings.Replace(reordered, "    arpProbes: 20\n    arpInterval: 10ms\n", "    requests: 400\n    arpInterval: 10000us\n    arpProbes: 20\n", 1)
	got, err := load(t, reordered, known()).Digest()
	require.NoError(t, err)
	assert.Equal(t, want, got)
	other, err := load(t, strings.Replace(good, "workers: 2", "workers: 3", 1), known()).Digest()
	require.NoError(t, err)
	assert.NotEqual(t, want, other)
}

// Values of every kind come back from JSON as they were loaded.
func TestValuesThroughJSON(t *testing.T) {
	s := load(t, strings.Replace(good, "{frr: {enabled: false}}",
		`{i: 7472, f: 1.5, whole: 1.0, big: 18446744073709551615, huge: 1e30, large: 1e18, zero: -0.0, hex: 0x10, t: "yes", d: 2026-11-23, n: null, 8080: x, l: [1, [], {}]}`, 1), known())
	values := s.Spec.Components[0].Values["speaker"].(map[string]any)
	assert.Equal(t, map[string]any{
		"i": 7472, "f": 1.5, "whole": 1, "big": uint64(18446744073709551615), "huge": 1e30, "large": 1000000000000000000, "zero": 0,
		"hex": 16, "t": "yes", "d": "2026-11-23", "n": nil, "8080": "x", "l": []any{1, []any{}, map[string]any{}},
	}, values)
	text, err := json.Marshal(s)
	require.NoError(t, err)
	var again scenario.Scenario
	require.NoError(t, json.Unmarshal(text, &again))
	assert.Equal(t, *s, again)
}
