// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package kind is a cluster of containers made with the kind library.
//
// kind provisions the node containers and writes their kubeadm configuration; this
// package runs kubeadm itself. That way every long step has a context, a node's
// network is complete before its kubelet starts, and workers join the moment the
// control plane can take them, which halves the time to three Ready nodes.
//
// Create sets DOCKER_HOST and KIND_EXPERIMENTAL_DOCKER_NETWORK in the environment of
// the process, for the kind library reads them there: one cluster a process.
package kind

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"

	"github.com/lbmatrix/lbmatrix/harness/docker"
	"github.com/lbmatrix/lbmatrix/harness/ledger"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// Labels on everything docker holds because of a run.
const (
	Label         = "lbmatrix"
	LabelRun      = "lbmatrix.run"
	LabelScenario = "lbmatrix.scenario"
	labelKind     = "io.x-k8s.kind.cluster" // kind's own, on the nodes
)

// Images are the references of the images a cluster is made of. The daemon must
// hold them: nothing is pulled.
type Images struct{ ControlPlane, Worker, Probe string }

// Options say which cluster to create, and where.
type Options struct {
	// Name is the cluster's: lower-case letters, digits and dashes, at most 50.
	Name     string
	Scenario *scenario.Scenario
	Docker   *docker.Client
	Images   Images
	// ProbeBinary is lbprobe on this host: the forwarder.
	ProbeBinary string
	Ledger      *ledger.Ledger
	RunID       string
	// Dir is the scenario's results folder; kind-config.yaml, kubeconfig and the
	// output of kubeadm are written there.
	Dir      string
	Log      io.Writer        // kind's own messages; nil discards
	Progress func(msg string) // one line for people a step; nil discards
}

var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

func (o *Options) check() error {
	var errs []error
	if len(o.Name) > 50 || !validName.MatchString(o.Name) {
		errs = append(errs, fmt.Errorf("name %q: want lower-case letters, digits and dashes, at most 50", o.Name))
	}
	for what, missing := range map[string]bool{
		"scenario": o.Scenario == nil, "docker client": o.Docker == nil, "ledger": o.Ledger == nil,
		"results folder": o.Dir == "", "run id": o.RunID == "",
		"image references": o.Images.ControlPlane == "" || o.Images.Worker == "" || o.Images.Probe == "",
	} {
		if missing {
			errs = append(errs, fmt.Errorf("no %s given", what))
		}
	}
	if o.Scenario != nil && o.Scenario.Spec.Cluster.Workers < 1 {
		errs = append(errs, errors.New("want at least 1 worker"))
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	return errors.Join(errs...)
}

func (o *Options) labels() []string {
	return []string{Label + "=1", LabelRun + "=" + o.RunID, LabelScenario + "=" + o.Scenario.Metadata.Name}
}

func (o *Options) path(name string) string { return filepath.Join(o.Dir, name) }
