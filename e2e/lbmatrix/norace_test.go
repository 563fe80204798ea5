// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

//go:build !race

package lbmatrix

// raceDetector says whether this test binary has the race detector.
const raceDetector = false
