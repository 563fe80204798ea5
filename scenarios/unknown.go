// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package scenarios

import (
	"fmt"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// UnknownError is a name that no scenario has.
type UnknownError struct {
	Name  string
	Known []string
}

// Error says what was meant, perhaps, and what there is.
func (e *UnknownError) Error() string {
	text := fmt.Sprintf("unknown scenario %q", e.Name)
	if suggestion := scenario.Suggest(e.Name, e.Known); strings.HasPrefix(suggestion, "did you mean") {
		text += "; " + suggestion
	}
	return text + "; scenarios: " + strings.Join(e.Known, ", ")
}
