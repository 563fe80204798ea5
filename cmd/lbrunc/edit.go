// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
)

// editFile rewrites a target in place. Containers are created one at a time per
// file, so a rename is all the care that is needed.
func editFile(t target, bound capabilitySet) error {
	info, err := os.Stat(t.file)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	old, err := os.ReadFile(t.file)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	edited, err := edit(old, t.nested, bound)
	if err != nil {
		return fmt.Errorf("edit %s: %w", t.file, err)
	}
	if bytes.Equal(old, edited) {
		return nil
	}
	tmp := t.file + ".lbrunc"
	if err := os.WriteFile(tmp, edited, info.Mode().Perm()); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	if err := os.Rename(tmp, t.file); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

// edit takes what the bounding set cannot grant out of a configuration. Fields it
// does not know stay byte for byte as they were.
func edit(data []byte, nested bool, bound capabilitySet) ([]byte, error) {
	if !nested {
		return editProcess(data, bound)
	}
	var config map[string]json.RawMessage
	if err := json.Unmarshal(data, &config); err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	raw, ok := config["process"]
	if !ok || string(raw) == "null" {
		return data, nil
	}
	process, err := editProcess(raw, bound)
	if err != nil {
		return nil, err
	}
	if bytes.Equal(process, raw) {
		return data, nil
	}
	config["process"] = process
	return encode(config)
}

func editProcess(data []byte, bound capabilitySet) ([]byte, error) {
	var process map[string]json.RawMessage
	if err := json.Unmarshal(data, &process); err != nil {
		return nil, fmt.Errorf("parse process: %w", err)
	}
	changed := false
	if raw, ok := process["capabilities"]; ok && string(raw) != "null" {
		kept, dropped, err := filterCapabilities(raw, bound)
		if err != nil {
			return nil, err
		}
		if dropped {
			process["capabilities"] = kept
			changed = true
		}
	}
	// Lowering the OOM score and raising a hard limit both need CAP_SYS_RESOURCE.
	if !bound.has("CAP_SYS_RESOURCE") {
		for _, field := range []string{"oomScoreAdj", "rlimits"} {
			if _, ok := process[field]; ok {
				delete(process, field)
				changed = true
			}
		}
	}
	if !changed {
		return data, nil
	}
	return encode(process)
}

// filterCapabilities works on every list of the capabilities object (bounding,
// effective, inheritable, permitted, ambient).
func filterCapabilities(raw json.RawMessage, bound capabilitySet) (json.RawMessage, bool, error) {
	var sets map[string]json.RawMessage
	if err := json.Unmarshal(raw, &sets); err != nil {
		return nil, false, fmt.Errorf("parse capabilities: %w", err)
	}
	dropped := false
	for set, list := range sets {
		var names []string
		if err := json.Unmarshal(list, &names); err != nil {
			return nil, false, fmt.Errorf("parse capabilities: %s: %w", set, err)
		}
		kept := make([]string, 0, len(names))
		for _, name := range names {
			if bound.has(name) {
				kept = append(kept, name)
			}
		}
		if len(kept) == len(names) {
			continue
		}
		dropped = true
		out, err := encode(kept)
		if err != nil {
			return nil, false, err
		}
		sets[set] = out
	}
	if !dropped {
		return raw, false, nil
	}
	out, err := encode(sets)
	return out, true, err
}

// encode keeps <, > and & as they are, which json.Marshal would escape.
func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return bytes.TrimRight(buf.Bytes(), "\n"), nil
}
