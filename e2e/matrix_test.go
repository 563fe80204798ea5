// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package e2e

import (
	"testing"

	"github.com/lbmatrix/lbmatrix/e2e/lbmatrix"
)

func TestMain(m *testing.M) { lbmatrix.Main(m) }

func TestMatrix(t *testing.T) { lbmatrix.Run(t, lbmatrix.Options{Results: results()}) }
