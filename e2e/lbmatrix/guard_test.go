// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package lbmatrix

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRefuse(t *testing.T) {
	now := time.Now()
	require.ErrorContains(t, refuse("TestX", now, now.Add(10*time.Minute), true, ""), "go test -run '^TestX$' -timeout 60m")
	require.ErrorContains(t, refuse("TestX", now, now.Add(time.Hour), true, "/tmp/testlog.txt"), "-count=1")
	require.NoError(t, refuse("TestX", now, now.Add(time.Hour), true, ""))
	require.NoError(t, refuse("TestX", now, time.Time{}, false, ""))
	require.ErrorContains(t, inTime("TestX/y", now, now.Add(14*time.Minute), true, neededAgain), "'^TestX$'")
	require.NoError(t, inTime("TestX/y", now, now.Add(16*time.Minute), true, neededAgain))
}
