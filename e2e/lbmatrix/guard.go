// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package lbmatrix

import (
	"flag"
	"fmt"
	"strings"
	"time"
)

// needed is the least time that must be left when the tests begin: bring-up,
// observations and mutations take about two minutes warm, and building the artifacts up to
// 25 cold. neededAgain is what must be left when another scenario begins: most of what it
// runs is built by then.
const (
	needed      = 30 * time.Minute
	neededAgain = 15 * time.Minute
)

// commandLine is the right way to start a test, named as it or one of its subtests is.
func commandLine(test string) string {
	test, _, _ = strings.Cut(test, "/")
	return "go test -run '^" + test + "$' -timeout 60m -count=1 -v"
}

// refuse says why this way of running the tests would mislead, or nil. A deadline in
// the middle of a run would kill it, and a cached result proves nothing about today.
func refuse(test string, now, deadline time.Time, limited bool, testlog string) error {
	if err := inTime(test, now, deadline, limited, needed); err != nil {
		return err
	}
	if testlog != "" {
		return fmt.Errorf("go test may answer from its cache the next time: use `%s`", commandLine(test))
	}
	return nil
}

// inTime says whether enough time is left.
func inTime(test string, now, deadline time.Time, limited bool, needed time.Duration) error {
	if left := deadline.Sub(now); limited && left < needed {
		return fmt.Errorf("the deadline is %s away and a run may take %s: use `%s`, with a longer -timeout where many scenarios run",
			left.Round(time.Second), needed, commandLine(test))
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
