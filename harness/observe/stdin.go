// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package observe

import (
	"fmt"
	"os"
)

// openStdin returns a stdin that stays open until it is closed: instruments end on
// stdin EOF, so that they never outlive the harness. It is a file, not an io.Pipe:
// os/exec waits for the copying of any other reader to end, and this one would not.
func openStdin() (*os.File, func(), error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("open stdin: %w", err)
	}
	return r, func() { _ = w.Close(); _ = r.Close() }, nil
}
