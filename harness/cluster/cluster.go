// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package cluster says what may be asked of a cluster under test, whoever runs it.
package cluster

import (
	"context"
	"io"
	"net/netip"
	"time"

	"k8s.io/client-go/rest"
)

// Cluster is one running cluster under test. Every method honours its context.
type Cluster interface {
	Name() string
	// RESTConfig reaches the API server from the root network namespace.
	RESTConfig() *rest.Config
	Nodes(ctx context.Context) ([]Node, error)
	Segment(ctx context.Context) (Segment, error)
	// Client sends traffic. It is never the observer: active ARP would refresh its
	// neighbour entries and hide outages.
	Client(ctx context.Context) (Host, error)
	// Observer watches ARP.
	Observer(ctx context.Context) (Host, error)
	// Collect writes logs and state of the cluster into dir, for people.
	Collect(ctx context.Context, dir string) error
	Delete(ctx context.Context) error
}

// Host is a machine on the segment that commands can be run on.
type Host interface {
	Name() string
	// Interfaces lists the host's links with their addresses, loopback included.
	Interfaces(ctx context.Context) ([]Interface, error)
	// Run runs a command where the host is and streams its output. The command dies
	// with ctx. A command that ran and failed gives an *ExitError.
	Run(ctx context.Context, c Command) error
}

// Node is a host that is a member of the cluster.
type Node interface {
	Host
	ControlPlane() bool
}

// PodHosts is the capability of a cluster whose pods are hosts by themselves. Elsewhere a
// pod's processes are among those of its node.
type PodHosts interface {
	PodHost(namespace, pod string) (Host, error)
}

// Command is what a Host runs. Nil writers discard; a nil Stdin is empty, not open:
// instruments that end on stdin EOF need one that stays open.
type Command struct {
	Path   string
	Args   []string
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
}

// Interface is one link of a host.
type Interface struct {
	Name      string
	MAC       string // lower-case, colon separated; empty where the link has none
	Up        bool
	Addresses []netip.Prefix
}

// Timing is how long one step of a bring-up took. Steps overlap.
type Timing struct {
	Name    string
	Began   time.Time
	Elapsed time.Duration
	After   []string // the steps it waited for
}

// Segment is the L2 broadcast domain the nodes share, and the part of it that is
// free for VIPs.
type Segment struct {
	Subnet  netip.Prefix
	Gateway netip.Addr // zero where there is none
	InUse   []netip.Addr
	// First and Last bound the VIP range, both included.
	First, Last netip.Addr
	// Unassigned is an address of the subnet that nobody was given and that is
	// outside the range: the negative control of an ARP sweep.
	Unassigned netip.Addr
	// Subnet6, First6 and Last6 are the same for IPv6; zero where there is none.
	Subnet6       netip.Prefix
	First6, Last6 netip.Addr
}
