// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package scenario

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// Digest is the sha256, in hex, of the scenario's JSON with its defaults filled
// in. It tells whether two runs meant the same: writing a default out, or keys in
// another order, does not change it; a changed value, also one in a values file,
// does. It fails only for Helm values that no file can hold, such as a function.
func (s *Scenario) Digest() (string, error) {
	resolved := *s
	resolved.SetDefaults()
	// encoding/json writes struct fields in their order and map keys sorted.
	canonical, err := json.Marshal(&resolved)
	if err != nil {
		return "", fmt.Errorf("digest scenario %s: %w", s.Metadata.Name, err)
	}
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:]), nil
}
