// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package component

import (
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// getter gives Helm its clients from a rest.Config: no kubeconfig file, and none of
// the environment that Helm's own settings would read.
type getter struct {
	config    *rest.Config
	namespace string
	discovery func() (discovery.CachedDiscoveryInterface, error)
}

func newGetter(config *rest.Config, namespace string) *getter {
	return &getter{
		config: config, namespace: namespace,
		discovery: sync.OnceValues(func() (discovery.CachedDiscoveryInterface, error) {
			c, err := discovery.NewDiscoveryClientForConfig(config)
			if err != nil {
				return nil, fmt.Errorf("make discovery client: %w", err)
			}
			return memory.NewMemCacheClient(c), nil
		}),
	}
}

// ToRESTConfig implements genericclioptions.RESTClientGetter.
func (g *getter) ToRESTConfig() (*rest.Config, error) { return rest.CopyConfig(g.config), nil }

// ToDiscoveryClient implements genericclioptions.RESTClientGetter.
func (g *getter) ToDiscoveryClient() (discovery.CachedDiscoveryInterface, error) {
	return g.discovery()
}

// ToRESTMapper implements genericclioptions.RESTClientGetter.
func (g *getter) ToRESTMapper() (meta.RESTMapper, error) {
	d, err := g.discovery()
	if err != nil {
		return nil, err
	}
	return restmapper.NewShortcutExpander(restmapper.NewDeferredDiscoveryRESTMapper(d), d, nil), nil
}

// ToRawKubeConfigLoader implements genericclioptions.RESTClientGetter. Helm reads
// the namespace from it, nothing else.
func (g *getter) ToRawKubeConfigLoader() clientcmd.ClientConfig {
	overrides := &clientcmd.ConfigOverrides{Context: api.Context{Namespace: g.namespace}}
	return clientcmd.NewDefaultClientConfig(*api.NewConfig(), overrides)
}
