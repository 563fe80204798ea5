// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package runner

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/plan"
	"github.com/lbmatrix/lbmatrix/harness/report"
)

// capturesFolder is where observations leave packet captures, in a scenario's folder.
const capturesFolder = "captures"

// dropCaptures removes the packet captures of a scenario of which nothing is left to
// look into: they are for people who ask why, and the journal has the same frames. All
// of them stay where anything but what was expected came out, or all is to be kept.
func dropCaptures(s report.Suite, dir string, keep plan.Keep) error {
	if keep == plan.KeepAlways {
		return nil
	}
	for _, c := range s.AllCells() {
		switch c.Result {
		case judge.ResultPassed, judge.ResultCaught, judge.ResultConsequence, judge.ResultSkipped:
		default:
			return nil
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, capturesFolder)); err != nil {
		return fmt.Errorf("remove captures: %w", err)
	}
	return nil
}
