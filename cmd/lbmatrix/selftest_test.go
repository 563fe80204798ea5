// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/report"
	"github.com/lbmatrix/lbmatrix/harness/selftest"
	"github.com/lbmatrix/lbmatrix/harness/world"
)

// selftestAs runs the command as a user, and returns its exit code and what it printed.
func selftestAs(t *testing.T, uid uint32, args ...string) (code int, out string) {
	t.Helper()
	// The test binary is lbmatrix when it is called so. Its folder is not for everybody.
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", append([]string{"selftest", "-q"}, args...)...)
	cmd.Args[0] = "lbmatrix"
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "TMPDIR=/tmp")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if cmd.ProcessState == nil {
		require.NoError(t, err)
	}
	t.Logf("%s", stderr.String())
	return cmd.ProcessState.ExitCode(), stdout.String()
}

func TestSelftestAsRootAndWithout(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: becomes another user")
	}
	if err := world.Available(); err != nil {
		t.Skipf("no worlds here: %v", err)
	}
	for name, uid := range map[string]uint32{"root": 0, "nobody": 65534} {
		t.Run(name, func(t *testing.T) {
			code, out := selftestAs(t, uid, "--world", "one-responder,two-responders", "-o", "json")
			if code == report.ExitNotRun && uid != 0 {
				t.Skip("this kernel lets no unprivileged user make a namespace")
			}
			require.Equal(t, report.ExitOK, code)
			var r selftest.Report
			require.NoError(t, json.Unmarshal([]byte(out), &r), "one object")
			require.Zero(t, r.Wrong)
			require.Equal(t, 2, r.Worlds)
			for _, world := range []string{"one-responder", "two-responders"} {
				require.True(t, slices.ContainsFunc(r.Cells, func(c selftest.Cell) bool {
					return c.World == world && c.Check == "single-responder" && c.OK
				}), world)
			}

			code, out = selftestAs(t, uid, "--world", "two-responders", "--sabotage", "one-mac")
			require.Equal(t, report.ExitFailed, code)
			require.True(t, strings.Contains(out, "WRONG two-responders, single-responder: expected responders=2, got ok"), out)
		})
	}
}
