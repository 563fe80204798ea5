// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package ledger

import "path/filepath"

// Path is the file of the ledger name in dir.
func Path(dir, name string) string { return filepath.Join(dir, name+extension) }
