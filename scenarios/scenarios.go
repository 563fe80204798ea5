// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package scenarios holds the scenarios that come with lbmatrix, one YAML file
// each, and their order in the matrix.
package scenarios

import (
	"embed"
	"errors"
	"fmt"

	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// FS holds the scenario files, the values files they name (*.values.yaml) and the
// schema (schema.json).
//
//go:embed *.yaml schema.json
var FS embed.FS

// Names gives the scenarios in the order of the matrix. The order is written out,
// not taken from the directory, so that it can go from plain to special.
func Names() []string {
	return []string{
		"kube-proxy-iptables-metallb-l2",
		"kube-proxy-nftables-metallb-l2",
		"kube-proxy-iptables-dual-stack-metallb-l2",
		"kube-proxy-ipvs-strictarp-metallb-l2",
		"cilium-kpr-dsr-metallb-l2",
		"cilium-kpr-snat-metallb-l2",
		"cilium-kpr-hybrid-metallb-l2",
		"cilium-cni-kube-proxy-iptables-metallb-l2",
		"cilium-cni-kube-proxy-ipvs-strictarp-metallb-l2",
		"known-bad-metallb-l2",
		"bad-dsr-silently-off",
		"bad-ipvs-lax-arp",
	}
}

// All loads every scenario, in order. Errors of several files are joined.
func All(opts scenario.Options) ([]*scenario.Scenario, error) {
	var all []*scenario.Scenario
	var errs []error
	for _, name := range Names() {
		s, err := load(name, opts)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, s)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return all, nil
}

// Get loads one scenario. An unknown name is an *UnknownError.
func Get(name string, opts scenario.Options) (*scenario.Scenario, error) {
	for _, known := range Names() {
		if name == known {
			return load(name, opts)
		}
	}
	return nil, &UnknownError{Name: name, Known: Names()}
}

// load reads one file; Files always is FS, whose files they are.
func load(name string, opts scenario.Options) (*scenario.Scenario, error) {
	data, err := FS.ReadFile(name + ".yaml")
	if err != nil {
		return nil, fmt.Errorf("load scenario %s: %w", name, err)
	}
	opts.Files = FS
	return scenario.Load("scenarios/"+name+".yaml", data, opts)
}
