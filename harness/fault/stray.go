// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package fault

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/journal"
)

// strayAddress gives an address that is not its own to the control plane, the node that
// MetalLB never elects: its kernel then answers ARP for it.
type strayAddress struct {
	t    Target
	pick func(ctx context.Context, t Target) (string, error)

	node cluster.Node
	addr string
}

// newStrayPoolAddress is for an address that a released Service, or an administrator, left
// on a machine although it is in the pool.
func newStrayPoolAddress(t Target) Fault {
	return &strayAddress{t: t, pick: func(ctx context.Context, t Target) (string, error) { return t.Spare(ctx) }}
}

// newStrayIdleVIP is for a node that answers for a Service although it has no endpoint of it.
func newStrayIdleVIP(t Target) Fault {
	return &strayAddress{t: t, pick: func(ctx context.Context, t Target) (string, error) {
		s, err := t.service(ctx, journal.RoleIdle)
		return s.VIP, err
	}}
}

// newVIPOnAnotherHost is for a VIP that two machines have: the speaker's, and this one.
func newVIPOnAnotherHost(t Target) Fault {
	return &strayAddress{t: t, pick: func(ctx context.Context, t Target) (string, error) {
		s, err := t.service(ctx, policyCluster)
		return s.VIP, err
	}}
}

// newIPv6VIPOnAnotherHost is the same for IPv6.
func newIPv6VIPOnAnotherHost(t Target) Fault {
	return &strayAddress{t: t, pick: func(ctx context.Context, t Target) (string, error) {
		vip, err := t.Six(ctx)
		if err == nil && vip == "" {
			err = errors.New("find the IPv6 VIP: none was assigned")
		}
		return vip, err
	}}
}

// addressCommand adds or deletes an address of a host's interface. One of IPv6 is used at
// once: asking whether it may (RFC 4862 5.4) would find who has it.
func addressCommand(verb, addr string) []string {
	command := []string{"address", verb, addr + hostBits(addr), "dev", segmentInterface}
	if verb == "add" && strings.Contains(addr, ":") {
		command = append(command, "nodad")
	}
	return command
}

func (f *strayAddress) has(ctx context.Context) (bool, error) {
	return hasAddress(ctx, f.node, segmentInterface, f.addr)
}

func (f *strayAddress) Apply(ctx context.Context) (string, error) {
	addr, err := f.pick(ctx, f.t)
	if err != nil {
		return "", err
	}
	if f.node, err = f.t.controlPlane(); err != nil {
		return "", err
	}
	f.addr = addr
	there, err := f.has(ctx)
	if err == nil && there {
		err = fmt.Errorf("add %s to %s: it is there already, so nothing would change", addr, f.node.Name())
	}
	if err != nil {
		f.addr = "" // not ours to take away
		return "", err
	}
	if _, err := cluster.Output(ctx, f.node, "ip", addressCommand("add", f.addr)...); err != nil {
		return "", fmt.Errorf("add %s to %s: %w", f.addr, f.node.Name(), err)
	}
	return fmt.Sprintf("%s is an address of %s's %s", f.addr, f.node.Name(), segmentInterface), nil
}

func (f *strayAddress) Verify(ctx context.Context, applied bool) (string, error) {
	if f.node == nil {
		return "", errors.New("verify a stray address: none was added")
	}
	there, err := f.has(ctx)
	switch {
	case err != nil:
		return "", err
	case there != applied:
		return "", fmt.Errorf("%s has %s: %t, wanted %t", f.node.Name(), f.addr, there, applied)
	}
	return fmt.Sprintf("%s has %s: %t", f.node.Name(), f.addr, there), nil
}

func (f *strayAddress) Undo(ctx context.Context) (string, error) {
	if f.node == nil || f.addr == "" {
		return "nothing was added", nil
	}
	there, err := f.has(ctx)
	if err != nil || !there {
		return "it is gone already", err
	}
	if _, err := cluster.Output(ctx, f.node, "ip", addressCommand("del", f.addr)...); err != nil {
		return "", fmt.Errorf("take %s from %s: %w", f.addr, f.node.Name(), err)
	}
	return fmt.Sprintf("took %s from %s", f.addr, f.node.Name()), nil
}
