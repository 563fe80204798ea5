// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package scenario

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"
)

// What strings look like, in words that Go and JSON schema share.
const (
	kebabPattern      = `^[a-z][a-z0-9]*(-[a-z0-9]+)*$`
	linePattern       = `^\S(.*\S)?$`
	codePattern       = `^[a-z][a-z0-9_-]*(=[!-~]+)?$`
	kubernetesPattern = `^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$`
	versionPattern    = `^v?[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`
	cidrPattern       = `^[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}$`
	filePattern       = `^[^/\\].*\.ya?ml$`
)

// matches compiles on use: a scenario is loaded once, and no global is needed.
func matches(pattern, s string) bool { return regexp.MustCompile(pattern).MatchString(s) }

func checkKebab(s string) (problem, suggestion string) {
	if matches(kebabPattern, s) {
		return "", ""
	}
	fixed := regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(s), "-")
	fixed = strings.Trim(fixed, "-")
	suggestion = "write lower-case words joined by single dashes"
	if len(fixed) <= maxName && matches(kebabPattern, fixed) {
		suggestion = fmt.Sprintf("did you mean %q?", fixed)
	}
	return fmt.Sprintf("%q is not kebab-case", clip(s)), suggestion
}

func checkLine(s string) (problem, suggestion string) {
	if matches(linePattern, s) && !strings.ContainsFunc(s, unicode.IsControl) {
		return "", ""
	}
	return "not one line of text", "write one line, without blanks at its ends"
}

func checkCode(s string) (problem, suggestion string) {
	if matches(codePattern, s) {
		return "", ""
	}
	return fmt.Sprintf("%q is not a code", clip(s)), "write it as the check gives it, for example responders=0"
}

func checkKubernetes(s string) (problem, suggestion string) {
	if matches(kubernetesPattern, s) {
		return "", ""
	}
	suggestion = "write all three numbers, for example v1.35.4"
	if matches(kubernetesPattern, "v"+s) {
		suggestion = fmt.Sprintf("did you mean %q?", "v"+s)
	}
	return fmt.Sprintf("%q is not a Kubernetes version", clip(s)), suggestion
}

func checkVersion(s string) (problem, suggestion string) {
	if matches(versionPattern, s) {
		return "", ""
	}
	return fmt.Sprintf("%q is not a version", clip(s)), "write all three numbers, for example v0.15.2"
}

// checkCIDR allows IPv4 networks of a size: pods need a /24 for each node and
// kube-apiserver takes no service network larger than a /12.
func checkCIDR(largest, smallest int) func(string) (problem, suggestion string) {
	return func(s string) (problem, suggestion string) {
		prefix, err := netip.ParsePrefix(s)
		switch {
		case err != nil || !prefix.Addr().Is4():
			return fmt.Sprintf("%q is not an IPv4 CIDR", clip(s)), "write network and length, for example " + defaultPodSubnet
		case prefix != prefix.Masked():
			return fmt.Sprintf("%q has host bits set", clip(s)), fmt.Sprintf("did you mean %q?", prefix.Masked())
		case prefix.Bits() < largest || prefix.Bits() > smallest:
			return fmt.Sprintf("/%d is no usable size", prefix.Bits()), fmt.Sprintf("allowed: /%d to /%d", largest, smallest)
		}
		for _, special := range []string{"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"} {
			if prefix.Overlaps(netip.MustParsePrefix(special)) {
				return fmt.Sprintf("%q overlaps %s, which can't be routed", clip(s), special), "use a private network, for example " + defaultPodSubnet
			}
		}
		return "", ""
	}
}

// checkFile allows a file in the scenario's directory or below. Links that lead
// out of it are caught when it is opened.
func checkFile(s string) (problem, suggestion string) {
	switch {
	case !filepath.IsLocal(s) || strings.ContainsAny(s, "\\\x00") || filepath.ToSlash(filepath.Clean(s)) != s:
		return fmt.Sprintf("%q is not a plain path in the scenario's directory", clip(s)), "put the file beside the scenario and write its name"
	case !matches(filePattern, s):
		return fmt.Sprintf("%q is not a YAML file", clip(s)), "name it .yaml"
	}
	return "", ""
}
