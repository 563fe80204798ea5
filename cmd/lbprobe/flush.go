// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"flag"
	"fmt"
	"io"

	"github.com/lbmatrix/lbmatrix/harness/probe/neigh"
)

// flushName is a command that prepares a measurement instead of being one.
const flushName = "neigh-flush"

func flush(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("lbprobe "+flushName, flag.ContinueOnError)
	flags.SetOutput(stderr)
	iface := flags.String("interface", "eth0", "drop the entries of this interface")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	n, err := neigh.Flush(*iface)
	if err != nil {
		fmt.Fprintln(stderr, "lbprobe:", err)
		return 1
	}
	fmt.Fprintf(stdout, "dropped %d entries\n", n)
	return 0
}
