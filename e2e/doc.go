// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package e2e runs the matrix as Go tests: every scenario is a feature of
// e2e-framework, every cell of the matrix an assessment.
//
//	go test ./e2e -run 'TestMatrix/^kube-proxy-iptables-metallb-l2$/^single-responder$' -timeout 60m -count=1 -v
//
// The scenario runs as a whole, in a worker process, whatever -run selects: proof and
// observations are never left out. The package holds no logic of its own; it maps the
// cells that [runner.Run] returns.
package e2e
