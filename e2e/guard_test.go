// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRefuse(t *testing.T) {
	now := time.Now()
	require.ErrorContains(t, refuse(now, now.Add(10*time.Minute), true, ""), commandLine)
	require.ErrorContains(t, refuse(now, now.Add(time.Hour), true, "/tmp/testlog.txt"), "-count=1")
	require.NoError(t, refuse(now, now.Add(time.Hour), true, ""))
	require.NoError(t, refuse(now, time.Time{}, false, ""))
	require.ErrorContains(t, inTime(now, now.Add(14*time.Minute), true, neededAgain), "-timeout")
	require.NoError(t, inTime(now, now.Add(16*time.Minute), true, neededAgain))
}
