// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package e2e runs the matrix as Go tests, one test a check:
//
//	go test ./e2e -run 'TestMatrix/^kube-proxy-iptables-metallb-l2$/^single-responder$' -timeout 60m -count=1 -v
//
// How is in [github.com/lbmatrix/lbmatrix/e2e/lbmatrix], which other projects use as well.
package e2e

import "os"

// results is the folder of runs: the repository's, unless the environment names another.
func results() string {
	if dir := os.Getenv("LBMATRIX_RESULTS"); dir != "" {
		return dir
	}
	return "../results"
}
