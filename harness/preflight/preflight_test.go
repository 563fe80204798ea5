// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package preflight

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

func packed(t *testing.T, text string) *fstest.MapFile {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return &fstest.MapFile{Data: b.Bytes()}
}

func ipvs() *scenario.Scenario {
	s := &scenario.Scenario{}
	s.Spec.DataPlane.Proxy = scenario.ProxyIPVS
	s.SetDefaults()
	return s
}

func TestStates(t *testing.T) {
	vs := Feature{"CONFIG_IP_VS", "ip_vs"}
	lists := func(dep, builtin string) fstest.MapFS {
		return fstest.MapFS{
			"lib/modules/6.1/modules.dep":     {Data: []byte(dep)},
			"lib/modules/6.1/modules.builtin": {Data: []byte(builtin)},
		}
	}
	for name, tc := range map[string]struct {
		files fstest.MapFS
		want  State
	}{
		"nothing readable":             {fstest.MapFS{}, Unknown},
		"built in":                     {fstest.MapFS{"proc/config.gz": packed(t, "CONFIG_IP_VS=y\n")}, Present},
		"not set":                      {fstest.MapFS{"proc/config.gz": packed(t, "# CONFIG_IP_VS is not set\n")}, Absent},
		"a module whose file is gone":  {fstest.MapFS{"boot/config-6.1": {Data: []byte("CONFIG_IP_VS=m\n")}}, Absent},
		"loaded":                       {fstest.MapFS{"sys/module/ip_vs/refcnt": {}}, Present},
		"a module that can be loaded":  {lists("kernel/net/netfilter/ipvs/ip_vs.ko.xz: kernel/x.ko\n", ""), Loadable},
		"only its schedulers":          {lists("kernel/net/netfilter/ipvs/ip_vs_rr.ko: kernel/net/netfilter/ipvs/ip_vs.ko\n", ""), Absent},
		"built in, by depmod's list":   {lists("", "kernel/net/netfilter/ipvs/ip-vs.ko\n"), Present},
		"neither, by both its lists":   {lists("", ""), Absent},
		"an unreadable list says none": {fstest.MapFS{"lib/modules/6.1/modules.dep": {Data: []byte("")}}, Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			k, err := newKernel(tc.files, "6.1", nil)
			require.NoError(t, err)
			require.Equal(t, tc.want, k.State(vs))
		})
	}
	_, err := newKernel(fstest.MapFS{"proc/config.gz": {Data: []byte("no gzip")}}, "6.1", nil)
	require.ErrorContains(t, err, "/proc/config.gz")
}

func TestCheckNamesWhatIsMissing(t *testing.T) {
	k, err := newKernel(fstest.MapFS{"proc/config.gz": packed(t, "CONFIG_IP_VS=y\nCONFIG_IP_VS_RR=y\n# CONFIG_DUMMY is not set\n")}, "6.1", nil)
	require.NoError(t, err)
	u := Check(t.Context(), k, ipvs())
	require.NotNil(t, u)
	require.Equal(t, []string{"kernel 6.1 has no CONFIG_DUMMY (module dummy)"}, u.Missing)
	require.Contains(t, u.Fix, "hosted runners")

	iptables := ipvs()
	iptables.Spec.DataPlane.Proxy = scenario.ProxyIPTables
	require.Nil(t, Check(t.Context(), k, iptables))
	iptables.Spec.Cluster.CNI = scenario.CNICilium
	u = Check(t.Context(), k, iptables)
	require.Len(t, u.Missing, 4)
	require.Contains(t, u.Missing[0], "can only be built in")
}

func TestModulesAreLoaded(t *testing.T) {
	files := fstest.MapFS{
		"lib/modules/6.1/modules.dep":     {Data: []byte("a/ip_vs.ko:\na/ip_vs_rr.ko: a/ip_vs.ko\na/dummy.ko:\n")},
		"lib/modules/6.1/modules.builtin": {},
	}
	var asked []string
	k, err := newKernel(files, "6.1", func(_ context.Context, module string) error {
		asked = append(asked, module)
		files["sys/module/"+module+"/refcnt"] = &fstest.MapFile{}
		return nil
	})
	require.NoError(t, err)
	require.Nil(t, Check(t.Context(), k, ipvs()))
	require.Equal(t, []string{"ip_vs", "ip_vs_rr", "dummy"}, asked)

	delete(files, "sys/module/dummy/refcnt")
	k.modprobe = func(context.Context, string) error { return errors.New("operation not permitted") }
	u := Check(t.Context(), k, ipvs())
	require.Equal(t, "As root: modprobe dummy", u.Fix)
	require.Contains(t, u.Missing[0], "operation not permitted")

	k.modprobe = func(context.Context, string) error { return nil }
	require.Contains(t, Check(t.Context(), k, ipvs()).Missing[0], "it is not there")
}

// A kernel that does not run here is asked by its files: modules count without being
// loaded, which they cannot be.
func TestKernelThatRunsElsewhere(t *testing.T) {
	files := fstest.MapFS{
		"boot/config-6.1":                 {Data: []byte("CONFIG_IP_VS=m\nCONFIG_IP_VS_RR=m\nCONFIG_DUMMY=m\n")},
		"lib/modules/6.1/modules.builtin": {Data: []byte("")},
		"lib/modules/6.1/modules.dep":     {Data: []byte("kernel/ip_vs.ko:\nkernel/ip_vs_rr.ko: kernel/ip_vs.ko\nkernel/dummy.ko:\n")},
	}
	k, err := At(files, "6.1")
	require.NoError(t, err)
	require.Nil(t, Lacks(k, ipvs()))
	require.ErrorContains(t, k.Load(t.Context(), Feature{"CONFIG_IP_VS", "ip_vs"}), "does not run here")

	files["lib/modules/6.1/modules.dep"] = &fstest.MapFile{Data: []byte("kernel/ip_vs.ko:\nkernel/ip_vs_rr.ko: kernel/ip_vs.ko\n")}
	k, err = At(files, "6.1")
	require.NoError(t, err)
	require.Equal(t, []string{"kernel 6.1 has no CONFIG_DUMMY (module dummy)"}, Lacks(k, ipvs()).Missing)
}
