// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package probe

import "time"

// Flags are a command's flags, of package flag or of pflag: both commands that run an
// instrument offer the same ones.
type Flags interface {
	BoolVar(p *bool, name string, value bool, usage string)
	IntVar(p *int, name string, value int, usage string)
	Int64Var(p *int64, name string, value int64, usage string)
	Uint64Var(p *uint64, name string, value uint64, usage string)
	Float64Var(p *float64, name string, value float64, usage string)
	StringVar(p *string, name, value, usage string)
	DurationVar(p *time.Duration, name string, value time.Duration, usage string)
}
