// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package scenario

import (
	"cmp"
	"time"
)

// The subnets of a cluster whose scenario names none; they are kubeadm's.
const (
	defaultPodSubnet     = "10.244.0.0/16"
	defaultServiceSubnet = "10.96.0.0/16"
)

// SetDefaults fills in every field that was left out. Load has done it already; it
// is for scenarios made in Go. A field whose zero is a value of its own
// (maxErrorRatio) has zero as its default; elsewhere Load refuses a written zero.
func (s *Scenario) SetDefaults() {
	p := &s.Spec
	p.DataPlane.Forwarding = cmp.Or(p.DataPlane.Forwarding, ForwardingSNAT)
	p.Cluster.Provider = cmp.Or(p.Cluster.Provider, ProviderAny)
	p.Cluster.PodSubnet = cmp.Or(p.Cluster.PodSubnet, defaultPodSubnet)
	p.Cluster.ServiceSubnet = cmp.Or(p.Cluster.ServiceSubnet, defaultServiceSubnet)
	p.LoadBalancer.PoolSize = cmp.Or(p.LoadBalancer.PoolSize, 10)
	p.Backend.Replicas = cmp.Or(p.Backend.Replicas, max(4, min(p.Cluster.Workers, mostBackends)))
	p.Limits.setDefaults()
}

// setDefaults fills in the limits that were left out.
func (l *Limits) setDefaults() {
	l.ARPProbes = cmp.Or(l.ARPProbes, 460)
	l.ARPInterval = cmp.Or(l.ARPInterval, Duration(10*time.Millisecond))
	l.StableFor = cmp.Or(l.StableFor, Duration(2*time.Second))
	l.GratuitousWithin = cmp.Or(l.GratuitousWithin, Duration(time.Second))
	l.Requests = cmp.Or(l.Requests, 400)
	l.RequestRate = cmp.Or(l.RequestRate, 100)
	l.LatencyRequests = cmp.Or(l.LatencyRequests, 1000)
	l.InClusterRequests = cmp.Or(l.InClusterRequests, 40)
	l.Exchanges = cmp.Or(l.Exchanges, 20)
	l.Transfers = cmp.Or(l.Transfers, 40)
	l.LatencyRatioP50 = cmp.Or(l.LatencyRatioP50, 1.5)
	l.LatencyRatioP90 = cmp.Or(l.LatencyRatioP90, 3)
	l.TransferRatioP50 = cmp.Or(l.TransferRatioP50, 1.5)
	l.TransferRatioP90 = cmp.Or(l.TransferRatioP90, 3)
	l.MaxLateRatio = cmp.Or(l.MaxLateRatio, 0.05)
	l.BackendSkewAlpha = cmp.Or(l.BackendSkewAlpha, 1e-6)
}
