// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package probe

import (
	"encoding/json"
	"fmt"
)

// Decode reads the body of a record as a T. Fields unknown to T are ignored, so
// that an older reader can read a newer instrument.
func Decode[T any](r Record) (T, error) {
	var body T
	if err := json.Unmarshal(r.Body, &body); err != nil {
		return body, fmt.Errorf("decode record %d (%s): %w", r.Seq, r.Kind, err)
	}
	return body, nil
}
