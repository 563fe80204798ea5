// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package component

import (
	"fmt"

	"helm.sh/helm/v3/pkg/strvals"
)

// SetValue gives values with what an expression sets, in the language of `helm --set`:
// a.b=c, lists in braces, several with commas. The argument is not changed.
func SetValue(values map[string]any, expression string) (map[string]any, error) {
	out := deepCopy(values)
	if err := strvals.ParseInto(expression, out); err != nil {
		return nil, fmt.Errorf("set %s: %w", expression, err)
	}
	return out, nil
}
