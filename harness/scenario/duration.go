// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package scenario

import (
	"fmt"
	"time"
)

// durationPattern is what UnmarshalText accepts, for the schema.
const durationPattern = `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`

// MarshalText writes d as Go does: 40ms, 2s, 1m30s.
func (d Duration) MarshalText() ([]byte, error) {
	return []byte(time.Duration(d).String()), nil
}

// UnmarshalText reads what MarshalText writes; yaml and json both come here.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("parse duration %q: want a number and a unit, for example 40ms or 2s", clip(string(text)))
	}
	*d = Duration(parsed)
	return nil
}

// String gives d as it is written in a scenario.
func (d Duration) String() string { return time.Duration(d).String() }
