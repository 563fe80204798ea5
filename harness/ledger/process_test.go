// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package ledger

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// A process can end between the opening of its file and the reading, which then fails with
// ESRCH: that means no more than that the file is not there.
func TestStatOfAProcessThatEnded(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	require.NoError(t, cmd.Start())
	f, err := os.Open(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, cmd.Process.Kill())
	var killed *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &killed)

	_, _, err = readStat(f)
	require.ErrorIs(t, err, os.ErrProcessDone)
	_, err = ProcessEntry("sleep", cmd.Process.Pid)
	require.ErrorIs(t, err, os.ErrProcessDone)
	require.True(t, errors.Is(err, os.ErrNotExist), "and why")
}
