// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Command agent is a guest's agent by itself, for the test of a real guest.
package main

import (
	"context"
	"os"

	"github.com/lbmatrix/lbmatrix/harness/guest/agent"
)

func main() { os.Exit(agent.Main(context.Background(), os.Stderr)) }
