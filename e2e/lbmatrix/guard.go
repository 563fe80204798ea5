// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package lbmatrix

import (
	"flag"
	"fmt"
	"time"
)

// needed is the least time a scenario gets: bring-up, observations and mutations
// take about two minutes warm, and building the artifacts up to 25 cold.
const needed = 30 * time.Minute

// commandLine is the right way to start a test.
func commandLine(test string) string {
	return "go test -run '^" + test + "$' -timeout 60m -count=1 -v"
}

// refuse says why this way of running the tests would mislead, or nil. A deadline in
// the middle of a run would kill it, and a cached result proves nothing about today.
func refuse(test string, now, deadline time.Time, limited bool, testlog string) error {
	if limited && deadline.Sub(now) < needed {
		return fmt.Errorf("the deadline is %s away and a run may take %s: use `%s`",
			deadline.Sub(now).Round(time.Second), needed, commandLine(test))
	}
	if testlog != "" {
		return fmt.Errorf("go test may answer from its cache the next time: use `%s`", commandLine(test))
	}
	return nil
}

// testlog is the value of -test.testlogfile, which the go command sets exactly when it
// may cache the result.
func testlog() string {
	if f := flag.Lookup("test.testlogfile"); f != nil {
		return f.Value.String()
	}
	return ""
}
