// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package scenario says what a run should be: the types of a scenario file, and
// strict loading of it.
//
// A scenario is evidence only when every line of it had its effect, so nothing is
// ignored or guessed: an unknown field, a wrong type, a value out of range or a
// name nobody registered is an error, with the place it stands at, what is allowed
// instead, and all errors of the file at once. One table of rules (rules.go) drives
// the loader and the JSON schema that editors use, so the two can't disagree.
package scenario
