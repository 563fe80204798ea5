// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package kind

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"

	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// What a scenario leaves open.
const (
	defaultPodSubnet     = "10.244.0.0/16"
	defaultServiceSubnet = "10.96.0.0/16"
)

// discoveryPath is where a worker finds the cluster's CA: see join.go.
const discoveryPath = "/kind/lbmatrix-discovery.conf"

// bootstrapToken is the one kind writes into every kubeadm config. The cluster is
// only reachable from its own segment.
const bootstrapToken = "abcdef.0123456789abcdef"

// hostFacts is what the config needs to know of the machine the nodes run on.
type hostFacts struct {
	CgroupV1 bool
	// NoSysResource says that CAP_SYS_RESOURCE is missing: kubelet cannot write oom
	// scores, and must be told that this is expected.
	NoSysResource bool
}

// renderConfig makes the kind config of a scenario. It is a pure function of its arguments.
func renderConfig(name string, s *scenario.Scenario, controlPlane, worker string, facts hostFacts) ([]byte, error) {
	c := s.Spec.Cluster
	kubelet, err := kubeletPatch(c.Kubernetes, facts)
	if err != nil {
		return nil, fmt.Errorf("render kind config: %w", err)
	}
	cfg := v1alpha4.Cluster{
		TypeMeta: v1alpha4.TypeMeta{APIVersion: "kind.x-k8s.io/v1alpha4", Kind: "Cluster"},
		Name:     name,
		Networking: v1alpha4.Networking{
			IPFamily:          v1alpha4.IPv4Family,
			APIServerAddress:  "127.0.0.1",
			APIServerPort:     -1, // docker chooses: it knows what is free in its namespace, kind looks in ours
			PodSubnet:         podSubnet(s),
			ServiceSubnet:     serviceSubnet(s),
			DisableDefaultCNI: true,
			KubeProxyMode:     kubeProxyMode(s.Spec.DataPlane.Proxy),
		},
		Nodes: []v1alpha4.Node{{Role: v1alpha4.ControlPlaneRole, Image: controlPlane}},
	}
	cfg.KubeadmConfigPatches = []string{controlPlanePatch, kubelet}
	if s.Spec.DataPlane.Proxy == scenario.ProxyIPVS {
		cfg.KubeadmConfigPatches = append(cfg.KubeadmConfigPatches, strictARPPatch(s.Spec.DataPlane.StrictARP))
	}
	if d := s.Spec.DataPlane; d.MinSyncPeriod != 0 {
		cfg.KubeadmConfigPatches = append(cfg.KubeadmConfigPatches, minSyncPatch(d))
	}
	for range c.Workers {
		cfg.Nodes = append(cfg.Nodes, v1alpha4.Node{
			Role: v1alpha4.WorkerRole, Image: worker, KubeadmConfigPatches: []string{joinPatch},
		})
	}
	var out bytes.Buffer
	out.WriteString("# written by lbmatrix\n")
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(cfg); err != nil {
		return nil, fmt.Errorf("render kind config: %w", err)
	}
	return out.Bytes(), nil
}

// kubeProxyMode is kind's name for the scenario's proxy. "none", which leaves kube-proxy
// out, is a value of kind's that its public constants do not list.
func kubeProxyMode(p scenario.Proxy) v1alpha4.ProxyMode {
	if p == scenario.ProxyCilium {
		return "none"
	}
	return v1alpha4.ProxyMode(p)
}

// controlPlanePatch: node CIDRs are given out by this package, which so can configure
// a node's network before its kubelet starts (cni.go).
const controlPlanePatch = `kind: ClusterConfiguration
controllerManager:
  extraArgs:
    allocate-node-cidrs: "false"
`

// joinPatch: with the CA in a file, kubeadm join need not wait for the signature of
// the cluster-info ConfigMap, which it polls for every 5 s. With rotation of its
// certificate on, kubelet starts before it has one, fails everything it tries as an
// anonymous user and backs off for seconds; no run lives for the year after which a
// certificate must be rotated. It is a flag because kubeadm overrides the field.
const joinPatch = `kind: JoinConfiguration
nodeRegistration:
  kubeletExtraArgs:
    rotate-certificates: "false"
discovery:
  bootstrapToken: null
  file:
    kubeConfigPath: ` + discoveryPath + `
  tlsBootstrapToken: ` + bootstrapToken + `
`

func strictARPPatch(strict bool) string {
	return fmt.Sprintf("kind: KubeProxyConfiguration\nipvs:\n  strictARP: %t\n", strict)
}

// minSyncPatch: kube-proxy reads the group of its mode alone.
func minSyncPatch(d scenario.DataPlane) string {
	return fmt.Sprintf("kind: KubeProxyConfiguration\n%s:\n  minSyncPeriod: %s\n", d.Proxy, time.Duration(d.MinSyncPeriod))
}

// syncFrequency is how often kubelet looks at each pod again, and so how soon a pod
// sees a Secret that was filled after it started: MetalLB's controller serves only once
// it finds its own certificate in such a mount. The default of 1 min makes an install
// that takes 6 s take up to 60 now and then.
const syncFrequency = "syncFrequency: 5s"

// cgroupV2Since is the minor version from which on kubelet refuses cgroup v1.
const cgroupV2Since = 36

// RefusesCgroupV1 says whether a version's kubelet does.
func RefusesCgroupV1(kubernetes string) bool {
	minor, err := minorVersion(kubernetes)
	return err == nil && minor >= cgroupV2Since
}

func kubeletPatch(kubernetes string, facts hostFacts) (string, error) {
	lines := []string{syncFrequency}
	if facts.CgroupV1 {
		minor, err := minorVersion(kubernetes)
		switch {
		case err != nil:
			return "", err
		case minor >= cgroupV2Since:
			return "", fmt.Errorf("kubelet %s refuses cgroup v1, which is what this machine's docker uses: "+
				"take Kubernetes 1.35 or older, or boot the machine with cgroup v2", kubernetes)
		case minor >= 31: // the field is younger than that
			lines = append(lines, "failCgroupV1: false")
		}
	}
	if facts.NoSysResource {
		lines = append(lines, "featureGates:", "  KubeletInUserNamespace: true")
	}
	return "kind: KubeletConfiguration\n" + strings.Join(lines, "\n") + "\n", nil
}

// minorVersion reads the 35 of v1.35.4.
func minorVersion(v string) (int, error) {
	parts := strings.Split(strings.TrimPrefix(v, "v"), ".")
	if len(parts) < 2 || parts[0] != "1" {
		return 0, fmt.Errorf("read Kubernetes version %q: want v1.MINOR.PATCH", v)
	}
	minor, err := strconv.Atoi(parts[1])
	if err != nil {
		return 0, fmt.Errorf("read Kubernetes version %q: %w", v, err)
	}
	return minor, nil
}

func podSubnet(s *scenario.Scenario) string {
	if p := s.Spec.Cluster.PodSubnet; p != "" {
		return p
	}
	return defaultPodSubnet
}

func serviceSubnet(s *scenario.Scenario) string {
	if p := s.Spec.Cluster.ServiceSubnet; p != "" {
		return p
	}
	return defaultServiceSubnet
}

// nodeNames are the names kind will give the containers, control plane first.
func nodeNames(cluster string, workers int) []string {
	names := []string{cluster + "-control-plane"}
	for i := range workers {
		name := cluster + "-worker"
		if i > 0 {
			name += strconv.Itoa(i + 1)
		}
		names = append(names, name)
	}
	return names
}
