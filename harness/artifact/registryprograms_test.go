// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/artifact/fetch"
)

// executable is a file that says of itself that it is a program for Linux: with an
// interpreter as one that is linked dynamically, and text that tells it from others.
func executable(t *testing.T, text string, dynamic bool) []byte {
	t.Helper()
	kind := elf.PT_LOAD
	if dynamic {
		kind = elf.PT_INTERP
	}
	var b bytes.Buffer
	machine := elf.EM_X86_64
	if runtime.GOARCH == "arm64" {
		machine = elf.EM_AARCH64
	}
	h := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
		Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1, Shentsize: 64,
	}
	copy(h.Ident[:], elf.ELFMAG+string([]byte{byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)}))
	require.NoError(t, binary.Write(&b, binary.LittleEndian, h))
	require.NoError(t, binary.Write(&b, binary.LittleEndian, elf.Prog64{Type: uint32(kind)}))
	b.WriteString(text)
	return b.Bytes()
}

// processSet is metallbSet for a cluster of processes.
func processSet() Set {
	set := metallbSet()
	set.Processes = true
	return set
}

// With the registry source the programs of a cluster of processes are those of the published
// images, taken once, by what is pinned; a store that is carried has them too.
func TestProgramsAreTakenOutOfImages(t *testing.T) {
	w := published(t)
	etcd := usual(partEtcd)
	for ref, at := range map[string]string{
		"kube-apiserver:v1.35.4": "usr/local/bin/kube-apiserver", "kube-proxy:v1.35.4": "usr/local/bin/kube-proxy", "kubectl:v1.35.4": "usr/bin/kubectl",
		"etcd-development/etcd:" + etcd: "usr/local/bin/etcd", "metallb/controller:v0.15.2": "controller", "metallb/speaker:v0.15.2": "speaker",
	} {
		require.NoError(t, w.PushProgram(ref, at, executable(t, ref, false)))
	}
	s, err := Open(w.options)
	require.NoError(t, err)
	_, err = s.Programs(t.Context(), processSet())
	require.ErrorContains(t, err, "no digest is pinned for gcr.io/etcd-development/etcd:"+etcd)
	require.ErrorContains(t, err, "--provider netns")

	require.Equal(t, []string{
		"gcr.io/etcd-development/etcd:" + etcd, "https://metallb.github.io/metallb/metallb:0.15.2",
		"quay.io/metallb/controller:v0.15.2", "quay.io/metallb/speaker:v0.15.2",
		"registry.k8s.io/kube-apiserver:v1.35.4", "registry.k8s.io/kube-proxy:v1.35.4", "registry.k8s.io/kubectl:v1.35.4",
	}, w.pin(t, processSet()).Names())

	source, why, err := Decide(t.Context(), Options{Mirrors: w.options.Mirrors, Pins: w.options.Pins, Dir: w.options.Dir}, []Set{processSet()})
	require.NoError(t, err)
	require.Equal(t, Registry, source, why)

	s, err = Open(w.options)
	require.NoError(t, err)
	has, err := s.HasPrograms(t.Context(), processSet())
	require.NoError(t, err)
	require.False(t, has)
	require.NoError(t, s.Build(t.Context(), processSet()))
	w.Close() // what is there is not asked for again
	has, err = s.HasPrograms(t.Context(), processSet())
	require.NoError(t, err)
	require.True(t, has)
	got, err := s.Programs(t.Context(), processSet())
	require.NoError(t, err)
	for name, text := range map[string]string{
		"kube-apiserver": "kube-apiserver:v1.35.4", "kube-proxy": "kube-proxy:v1.35.4", "kubectl": "kubectl:v1.35.4",
		"etcd": "etcd-development/etcd:" + etcd, "controller": "metallb/controller:v0.15.2", "speaker": "metallb/speaker:v0.15.2",
	} {
		raw, err := os.ReadFile(got[name])
		require.NoError(t, err, name)
		require.True(t, strings.HasSuffix(string(raw), text), name)
		info, err := os.Stat(got[name])
		require.NoError(t, err)
		require.EqualValues(t, 0o755, info.Mode().Perm(), name)
	}
	require.Len(t, got, 7, "and lbprobe: %v", got)

	dir := t.TempDir()
	require.NoError(t, s.Carry(t.Context(), []Set{processSet()}, dir))
	t.Setenv("PATH", t.TempDir()) // no go
	source, _, err = Decide(t.Context(), Options{Dir: dir}, []Set{processSet()})
	require.NoError(t, err)
	require.Equal(t, Registry, source)
	there, err := Open(Options{Dir: dir, Source: source})
	require.NoError(t, err)
	carried, err := there.Programs(t.Context(), processSet())
	require.NoError(t, err)
	require.Len(t, carried, len(got))
	_, err = there.Chart(t.Context(), "metallb", "v0.15.2")
	require.NoError(t, err)
	_, err = there.Programs(t.Context(), Set{Kubernetes: "v1.36.3"})
	require.ErrorIs(t, err, errNotCarried)
}

func TestWhatCannotBeTakenOutIsSaid(t *testing.T) {
	w := published(t)
	s, err := Open(w.options)
	require.NoError(t, err)
	foreign := executable(t, "", false)
	binary.LittleEndian.PutUint16(foreign[18:], uint16(elf.EM_S390)) // e_machine
	for name, c := range map[string]struct {
		at      string
		program []byte
		want    string
	}{
		"elsewhere":         {"usr/local/bin/kube-scheduler", executable(t, "", false), "there is no program of that name in it"},
		"dynamic":           {"usr/local/bin/kube-proxy", executable(t, "", true), "it is linked dynamically"},
		"a script":          {"usr/local/bin/kube-proxy", []byte("#!/bin/sh\n"), "it is no program for Linux"},
		"another machine's": {"usr/local/bin/kube-proxy", foreign, "it is a program for EM_S390"},
		"just right":        {"usr/local/bin/kube-proxy", executable(t, "", false), ""},
		"at its root":       {"kube-proxy", executable(t, "", false), ""},
		"in a package":      {"opt/a/b/c/kube-proxy", executable(t, "", false), ""},
	} {
		t.Run(name, func(t *testing.T) {
			ref := "kube-proxy:" + strings.NewReplacer(" ", "-", "'", "").Replace(name)
			require.NoError(t, w.PushProgram(ref, c.at, c.program))
			dir := t.TempDir()
			_, err := s.registries.client.Image(t.Context(), "registry.k8s.io/"+ref, "", dir, func(string) {})
			require.NoError(t, err)
			img, err := fetch.Open(dir)
			require.NoError(t, err)
			err = takeOut(img, "kube-proxy", filepath.Join(dir, "kube-proxy"))
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
}
