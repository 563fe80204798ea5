// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package netns is a cluster without containers: real etcd, kube-apiserver, kube-proxy
// and MetalLB, started as processes in Linux namespaces of this machine.
//
// Every member of the segment (node, client, observer) and every pod that is not on
// its node's network is a *machine*: a process 1 (lbprobe idle) in network, mount,
// PID, UTS and IPC namespaces of its own. The kernel ends everything in a machine with
// its process 1, and that ends with the pipe that this process holds: whoever is
// killed leaves nothing. A machine sees this host's files read-only, and has /run to
// itself. Nothing is ever added to this host's own network.
//
// There is no kubelet: package standin does what one would, for what is needed here.
package netns

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/lbmatrix/lbmatrix/harness/ledger"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// Options say which cluster to create, and where.
type Options struct {
	// Name is the cluster's; names of nodes derive from it.
	Name     string
	Scenario *scenario.Scenario
	// Programs are paths by program name: those of [ControlPlane], and one for each
	// image that a pod may ask for, by the last part of the image's name.
	Programs map[string]string
	Ledger   *ledger.Ledger
	// Dir is the scenario's results folder, absolute: keys, kubeconfig and logs are there.
	Dir      string
	Log      io.Writer        // of the forwarder; nil discards
	Progress func(msg string) // one line for people a step; nil discards
	// Crashed is told, with the end of its log, of every program that ended by itself; from
	// goroutines of its own. Nil: Progress is.
	Crashed func(msg string)
}

// The programs that every cluster is made of.
const (
	programEtcd      = "etcd"
	programAPIServer = "kube-apiserver"
	programProxy     = "kube-proxy"
	programKubectl   = "kubectl"
	programProbe     = "lbprobe"
)

// ControlPlane lists the programs a cluster is made of, whatever is installed in it.
func ControlPlane() []string {
	return []string{programEtcd, programAPIServer, programProxy, programKubectl, programProbe}
}

func (o *Options) check() error {
	var errs []error
	for what, missing := range map[string]bool{
		"name": o.Name == "", "scenario": o.Scenario == nil, "ledger": o.Ledger == nil, "absolute results folder": !filepath.IsAbs(o.Dir),
	} {
		if missing {
			errs = append(errs, fmt.Errorf("no %s given", what))
		}
	}
	for _, name := range ControlPlane() {
		if o.Programs[name] == "" {
			errs = append(errs, fmt.Errorf("no program %s given", name))
		}
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if o.Crashed == nil {
		o.Crashed = o.Progress
	}
	return errors.Join(errs...)
}

func (o *Options) path(name ...string) string {
	return filepath.Join(append([]string{o.Dir}, name...)...)
}
