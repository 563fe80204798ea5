// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/lbmatrix/lbmatrix/harness/artifact/fetch/fetchtest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"lbmatrix": func() { os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

func TestScripts(t *testing.T) {
	recorded, err := filepath.Abs("../../fixtures/journals")
	if err != nil {
		t.Fatal(err)
	}
	world, err := fetchtest.Serve(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(world.Close)
	if err := world.AddMetalLB("v1.35.4", "v0.15.2"); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("RECORDED", recorded)
			// The folder with lbmatrix and nothing else: a PATH of a machine that has nothing.
			self, err := exec.LookPath("lbmatrix")
			if err != nil {
				return err
			}
			e.Setenv("ONLY", filepath.Dir(self))
			e.Setenv("LBMATRIX_STATE", filepath.Join(e.WorkDir, "state"))
			e.Setenv("LBMATRIX_CACHE", filepath.Join(e.WorkDir, "cache"))
			e.Setenv("LBMATRIX_PINS", filepath.Join(e.WorkDir, "pins.yaml"))
			// Scripts that want it name it: no other reaches for a network.
			e.Setenv("LOOPBACK_MIRRORS", strings.Join(world.Mirrors(), ","))
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("GORACE", os.Getenv("GORACE")) // how long a program waits at its end, see make test
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

// exits CODE COMMAND... runs a command and holds it to its exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := "0"
	if err != nil {
		code = exitStatus(err)
	}
	if code != args[0] {
		ts.Fatalf("exit code %s, want %s", code, args[0])
	}
}
