// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package fetch

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// Mirrors say where a host's images and charts are fetched from instead. A name stays
// what it is: only the request goes elsewhere.
type Mirrors map[string]*url.URL

// dockerHub is what references call the registry that [name.DefaultRegistry] serves.
const dockerHub = "docker.io"

// ParseMirrors reads HOST=TARGET, TARGET being host[:port][/path] or a URL of http or
// https. Without a scheme a target on loopback is asked by http where it does not
// speak https, and any other by https.
func ParseMirrors(specs []string) (Mirrors, error) {
	m := Mirrors{}
	for _, spec := range specs {
		host, target, ok := strings.Cut(spec, "=")
		if !ok || host == "" || target == "" || strings.Contains(host, "/") {
			return nil, fmt.Errorf("mirror %q: want HOST=TARGET, for example docker.io=mirror.example:5000/dockerhub", spec)
		}
		if !strings.Contains(target, "://") {
			target = "//" + target
		}
		u, err := url.Parse(target)
		if err != nil || u.Host == "" || u.RawQuery != "" || u.User != nil || (u.Scheme != "" && u.Scheme != "http" && u.Scheme != "https") {
			return nil, fmt.Errorf("mirror %q: %s is no host[:port][/path] and no http or https URL of one (credentials belong into Docker's configuration)", spec, target)
		}
		if _, twice := m[canonical(host)]; twice {
			return nil, fmt.Errorf("mirror %q: %s has one already", spec, host)
		}
		u.Path = strings.Trim(u.Path, "/")
		m[canonical(host)] = u
	}
	return m, nil
}

// canonical is a host without the second name that Docker's registry has.
func canonical(host string) string {
	if host == name.DefaultRegistry || host == "registry-1.docker.io" {
		return dockerHub
	}
	return strings.ToLower(host)
}

// reference is where an image is asked for.
func (m Mirrors) reference(ref string) (name.Reference, error) {
	parsed, err := name.ParseReference(ref)
	if err != nil {
		return nil, fmt.Errorf("read image reference: %w", err)
	}
	target, ok := m[canonical(parsed.Context().RegistryStr())]
	if !ok {
		return parsed, nil
	}
	var opts []name.Option
	if target.Scheme == "http" {
		opts = append(opts, name.Insecure)
	}
	separator := ":"
	if _, digest := parsed.(name.Digest); digest {
		separator = "@"
	}
	return name.ParseReference(target.Host+"/"+strings.TrimPrefix(target.Path+"/"+parsed.Context().RepositoryStr(), "/")+separator+parsed.Identifier(), opts...)
}

// url is where a file of a chart repository is asked for.
func (m Mirrors) url(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", fmt.Errorf("read chart repository: %w", err)
	}
	target, ok := m[canonical(u.Host)]
	if !ok {
		return raw, nil
	}
	out := *u
	out.Host = target.Host
	if target.Scheme != "" {
		out.Scheme = target.Scheme
	}
	if target.Path != "" {
		out.Path = "/" + target.Path + u.Path
	}
	return out.String(), nil
}
