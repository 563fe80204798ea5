// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package fault breaks a healthy cluster in named ways, sees to it that it is
// broken, and undoes it.
package fault

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/client-go/dynamic"
)

// Target is what a fault may act on.
type Target struct {
	Dynamic dynamic.Interface
	// MetalLB is the namespace of MetalLB's configuration.
	MetalLB string
}

// Fault is one way to break a cluster. Each method returns what it did or saw, for
// the journal.
type Fault interface {
	Apply(ctx context.Context) (string, error)
	// Verify sees to it that the fault is there (applied) or gone.
	Verify(ctx context.Context, applied bool) (string, error)
	// Undo restores what Apply changed. It may be called when Apply failed half-way.
	Undo(ctx context.Context) (string, error)
}

// kind is an entry of the registry.
type kind struct {
	name string
	why  string
	make func(Target) Fault
}

func kinds() []kind {
	return []kind{
		{
			name: "no-l2-advertisement",
			why: "every L2Advertisement is deleted: the VIP stays assigned and nobody answers for it. A Kubespray inventory without " +
				"metallb_config.layer2 produces the same",
			make: func(t Target) Fault { return &noAdvertisement{t: t} },
		},
	}
}

// Names lists the registered faults.
func Names() []string {
	var out []string
	for _, k := range kinds() {
		out = append(out, k.name)
	}
	return out
}

// Why says what a fault does and which real failure it stands for.
func Why(name string) string {
	if i := slices.IndexFunc(kinds(), func(k kind) bool { return k.name == name }); i >= 0 {
		return kinds()[i].why
	}
	return ""
}

// New prepares a fault.
func New(name string, t Target) (Fault, error) {
	for _, k := range kinds() {
		if k.name == name {
			return k.make(t), nil
		}
	}
	return nil, fmt.Errorf("prepare fault: no fault %q; there are %s", name, strings.Join(Names(), ", "))
}
