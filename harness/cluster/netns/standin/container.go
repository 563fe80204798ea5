// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package standin

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// tokenPath is where programs find the token of their service account.
const tokenPath = "/var/run/secrets/kubernetes.io/serviceaccount"

// container works out what a pod's container is to be started with. The error says
// what is still missing, or what this package cannot do.
func (a *Agent) container(p *corev1.Pod) (Container, error) {
	if len(p.Spec.Containers) != 1 || len(p.Spec.InitContainers) > 0 {
		return Container{}, fmt.Errorf("the pod has %d containers and %d init containers: one and none is what can be run without a kubelet",
			len(p.Spec.Containers), len(p.Spec.InitContainers))
	}
	spec := p.Spec.Containers[0]
	c := Container{Namespace: p.Namespace, Pod: p.Name, Node: p.Spec.NodeName, HostNetwork: p.Spec.HostNetwork, Program: programOf(spec.Image)}
	env := map[string]string{}
	for _, v := range spec.Env {
		value, err := a.value(p, v)
		if err != nil {
			return c, err
		}
		env[v.Name] = expand(value, env)
		c.Env = append(c.Env, v.Name+"="+env[v.Name])
	}
	c.Env = append(c.Env, "KUBERNETES_SERVICE_HOST="+a.o.APIServer.Addr().String(), fmt.Sprintf("KUBERNETES_SERVICE_PORT=%d", a.o.APIServer.Port()))
	for _, arg := range append(commandArgs(spec.Command), spec.Args...) {
		c.Args = append(c.Args, expand(arg, env))
	}
	for _, m := range spec.VolumeMounts {
		files, err := a.volume(p, m.Name)
		if err != nil {
			return c, err
		}
		if m.SubPath != "" {
			return c, fmt.Errorf("mount %s has a subPath: that cannot be done without a kubelet", m.Name)
		}
		c.Mounts = append(c.Mounts, Mount{Path: m.MountPath, Files: files})
	}
	// What is mounted within another mount comes after it, or it would be covered.
	slices.SortStableFunc(c.Mounts, func(a, b Mount) int { return strings.Compare(a.Path, b.Path) })
	return c, nil
}

// commandArgs are the arguments in a command: its first word is the program, which the
// image names already.
func commandArgs(command []string) []string {
	if len(command) < 2 {
		return nil
	}
	return command[1:]
}

// programOf is the last part of an image's name, without tag and digest.
func programOf(image string) string {
	name, _, _ := strings.Cut(path.Base(image), "@")
	name, _, _ = strings.Cut(name, ":")
	return name
}

// value resolves one variable.
func (a *Agent) value(p *corev1.Pod, v corev1.EnvVar) (string, error) {
	if v.ValueFrom == nil {
		return v.Value, nil
	}
	if v.ValueFrom.FieldRef != nil {
		switch v.ValueFrom.FieldRef.FieldPath {
		case "metadata.name":
			return p.Name, nil
		case "metadata.namespace":
			return p.Namespace, nil
		case "spec.nodeName":
			return p.Spec.NodeName, nil
		case "status.podIP":
			return p.Status.PodIP, nil
		case "status.hostIP":
			return p.Status.HostIP, nil
		}
	}
	return "", fmt.Errorf("variable %s is taken from what cannot be read without a kubelet", v.Name)
}

// expand replaces $(NAME) by the value of a variable that is known, as Kubernetes does.
func expand(s string, env map[string]string) string {
	return regexp.MustCompile(`\$\([A-Za-z_][A-Za-z0-9_]*\)`).ReplaceAllStringFunc(s, func(ref string) string {
		if value, ok := env[ref[2:len(ref)-1]]; ok {
			return value
		}
		return ref
	})
}

// volume reads the files of a volume.
func (a *Agent) volume(p *corev1.Pod, name string) (map[string][]byte, error) {
	for _, v := range p.Spec.Volumes {
		if v.Name != name {
			continue
		}
		switch {
		case v.EmptyDir != nil:
			return map[string][]byte{}, nil
		case v.Secret != nil && len(v.Secret.Items) == 0:
			s, err := a.secrets.Secrets(p.Namespace).Get(v.Secret.SecretName)
			if absent(err, v.Secret.Optional) {
				return map[string][]byte{}, nil
			}
			if err != nil {
				return nil, err
			}
			return s.Data, nil
		case v.ConfigMap != nil && len(v.ConfigMap.Items) == 0:
			m, err := a.configMaps.ConfigMaps(p.Namespace).Get(v.ConfigMap.Name)
			if absent(err, v.ConfigMap.Optional) {
				return map[string][]byte{}, nil
			}
			if err != nil {
				return nil, err
			}
			files := map[string][]byte{}
			for k, text := range m.Data {
				files[k] = []byte(text)
			}
			return files, nil
		}
		return nil, fmt.Errorf("volume %s is of a kind that cannot be made without a kubelet", name)
	}
	return nil, fmt.Errorf("there is no volume %s", name)
}

// absent says whether what a volume is made of is not there, and need not be.
func absent(err error, optional *bool) bool {
	return apierrors.IsNotFound(err) && optional != nil && *optional
}
