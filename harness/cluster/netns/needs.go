// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package netns

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

// tool is a program of this host that machines use, and the Debian package it is in.
type tool struct{ program, pkg string }

func tools(p scenario.Proxy) []tool {
	all := []tool{
		{"ip", "iproute2"},
		{"nsenter", "util-linux"},
		{"unshare", "util-linux"},
		{"mount", "mount"},
		{"curl", "curl"},
		{"iptables", "iptables"},
		{"iptables-save", "iptables"},
		{"nft", "nftables"},
	}
	if p == scenario.ProxyIPVS { // kube-proxy refuses that mode without ipset
		all = append(all, tool{"ipset", "ipset"}, tool{"ipvsadm", "ipvsadm"})
	}
	return all
}

// ipv6File is there where the kernel has IPv6, switched off or on.
const ipv6File = "/proc/sys/net/ipv6/conf/all/disable_ipv6"

// Missing says what this machine lacks to run a scenario on a cluster of namespaces,
// each with the way to get it; empty where it lacks nothing.
func Missing(sc *scenario.Scenario) []string {
	var out []string
	if _, err := os.Stat(ipv6File); err != nil && sc.Spec.Cluster.DualStack() {
		out = append(out, "IPv6: this kernel was started without it: start it without ipv6.disable=1")
	}
	if os.Geteuid() != 0 {
		out = append(out, "root: namespaces need CAP_NET_ADMIN and CAP_SYS_ADMIN")
	}
	for name, capability := range map[string]uintptr{"CAP_NET_ADMIN": unix.CAP_NET_ADMIN, "CAP_SYS_ADMIN": unix.CAP_SYS_ADMIN} {
		if have, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, capability, 0, 0, 0); err == nil && have == 0 {
			out = append(out, name+": it is not in this process's bounding set")
		}
	}
	packages, programs := map[string]bool{}, []string{}
	var need []string
	for _, t := range tools(sc.Spec.DataPlane.Proxy) {
		if lookPath(t.program) {
			continue
		}
		programs = append(programs, t.program)
		if !packages[t.pkg] {
			packages[t.pkg] = true
			need = append(need, t.pkg)
		}
	}
	if len(programs) > 0 {
		out = append(out, fmt.Sprintf("%s (apt-get install %s)", strings.Join(programs, ", "), strings.Join(need, " ")))
	}
	return out
}

// lookPath looks where machines do: some shells' PATH lacks the sbin folders.
func lookPath(program string) bool {
	if _, err := exec.LookPath(program); err == nil {
		return true
	}
	for _, dir := range strings.Split(strings.TrimPrefix(path(), "PATH="), ":") {
		if info, err := os.Stat(dir + "/" + program); err == nil && info.Mode()&0o111 != 0 {
			return true
		}
	}
	return false
}
