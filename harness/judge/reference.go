// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge

import (
	"fmt"
	"strings"
)

// Reference is docs/checks.md: the catalogue for readers, from the catalogue itself.
func Reference() string {
	var b strings.Builder
	b.WriteString("# Checks\n\nGenerated from the catalogue by `go test ./harness/judge -update`; `lbmatrix explain ID` prints the same.\n")
	family := ""
	for _, c := range Checks() {
		if c.Family != family {
			family = c.Family
			fmt.Fprintf(&b, "\n## %s\n", family)
		}
		fmt.Fprintf(&b, "\n### %s\n\n%s.\n\n- **Why**: %s\n- **How**: %s\n- **Needs**: %s\n- **Codes**: `%s`; `no-data` when broken\n",
			c.ID, c.Title, c.Why, c.Method, strings.Join(c.Needs, ", "), strings.Join(c.Codes, "`, `"))
	}
	return b.String()
}
