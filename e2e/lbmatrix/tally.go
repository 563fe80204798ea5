// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package lbmatrix

import (
	"errors"

	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/harness/report"
)

// tally counts the assessments of a go test run: one that assessed nothing must not be
// green. The framework runs them one after another.
type tally struct{ assessed, ran int }

func (n *tally) add(r judge.Result) {
	n.assessed++
	if report.RowOf(r).Ran {
		n.ran++
	}
}

// check is an error where no check was assessed, or none of them ran.
func (n *tally) check() error {
	switch {
	case n.assessed == 0:
		return errors.New("-run matches no check of any scenario: see `lbmatrix list` and `lbmatrix explain`")
	case n.ran == 0:
		return errors.New("nothing that -run selects could run here: the skipped tests say why")
	}
	return nil
}
