// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

func endReason(t *testing.T, out []byte) string {
	t.Helper()
	records, err := stream.Read(bytes.NewReader(out))
	require.NoError(t, err, "every run leaves a whole stream")
	end, err := probe.Decode[probe.End](records[len(records)-1])
	require.NoError(t, err)
	return end.Reason
}

func TestExitCodesAndReasons(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	target := "--target=vip=" + closed.Addr().String()
	for _, test := range []struct {
		args   string
		code   int
		reason string // empty: no stream
	}{
		{"", 2, ""},
		{"help", 0, ""},
		{"dance", 2, ""},
		{"arp --nonsense", 2, ""},
		{"arp --help", 0, ""},
		{"arp extra", 2, ""},
		{"arp --stdin sometimes", 2, ""},
		{"forward", 2, ""},
		{"forward --to x:1 --listen-fd 1000", 1, probe.ReasonError},
		{"load --count 1 --duration 1s", 2, ""},
		{"load --stdin ignore", 1, probe.ReasonError},
		{"arp --interface absent0 --target 10.0.0.1 --stdin ignore", 1, probe.ReasonError},
		{"ndp --interface absent0 --target fe80::1 --stdin ignore", 1, probe.ReasonError},
		{"ndp --target 10.0.0.1,x", 2, ""},
		{"serve --http 256.0.0.1:x", 1, probe.ReasonError},
		{"watch --stdin ignore", 1, probe.ReasonError},
		{"watch --arp 10.0.0.1 --interface absent0", 1, probe.ReasonError},
		{"watch --stdin ignore --duration 50ms --new " + closed.Addr().String(), 0, probe.ReasonDone},
		{"watch --new " + closed.Addr().String(), 0, probe.ReasonDone},
		{"watch --stdin ignore --deadline 50ms --udp " + closed.Addr().String(), 0, probe.ReasonDeadline},
		{"load --stdin ignore --mode tcp-connect --schedule poisson --rate 1000 --duration 50ms " + target, 0, probe.ReasonDone},
		{"load --stdin ignore --schedule bogus " + target, 1, probe.ReasonError},
		{"load --stdin ignore --count 1 --hdr-log /no/such/folder/log " + target, 2, ""},
		{"load --stdin ignore --mode tcp-connect --rate 50 --ramp-limit 1s --ramp-step 20ms --ramp-warmup 0s " + target, 0, probe.ReasonDone},
		{"load --stdin ignore --mode tcp-connect --count 3 " + target, 0, probe.ReasonDone},
		{"load --mode tcp-connect --rate 1 " + target, 0, probe.ReasonStdinClosed},
		{"load --stdin ignore --deadline 50ms --mode tcp-connect " + target, 0, probe.ReasonDeadline},
		{"exchange --target x", 2, ""},
		{"exchange --target a=udp://127.0.0.1:1/x", 2, ""},
		{"exchange --source-ports 1-x", 2, ""},
		{"exchange --stdin ignore --target a=udp://127.0.0.1:1/7", 1, probe.ReasonError},
		{"exchange --stdin ignore --count 2 --target a=http://" + closed.Addr().String() + "/100", 0, probe.ReasonDone},
		{"idle --deadline 50ms", 0, probe.ReasonDeadline},
		{"idle --until-stdin-eof", 0, probe.ReasonStdinClosed},
		{"serve --http 127.0.0.1:0 --tcp= --udp= --deadline 50ms", 0, probe.ReasonDeadline},
	} {
		t.Run(test.args, func(t *testing.T) {
			var out, stderr bytes.Buffer
			code := run(t.Context(), strings.Fields(test.args), strings.NewReader(""), &out, &stderr)
			require.Equal(t, test.code, code, stderr.String())
			if test.reason != "" {
				require.Equal(t, test.reason, endReason(t, out.Bytes()))
			}
			require.Equal(t, code != 0, stderr.Len() > 0 && !strings.Contains(test.args, "help"))
		})
	}
}

// Realtime is asked for by starting again; the run says whether it was had.
func TestRealtime(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the binary")
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	binary := filepath.Join(t.TempDir(), "lbprobe")
	message, err := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, string(message))
	for _, flag := range []string{"--realtime", "--realtime=false"} {
		var stderr bytes.Buffer
		command := exec.CommandContext(t.Context(), binary, "load", flag, "--stdin=ignore", "--mode=tcp-connect", "--count=3", "--target=vip="+closed.Addr().String())
		command.Stderr = &stderr
		out, err := command.Output()
		require.NoError(t, err, stderr.String())
		records, err := stream.Read(bytes.NewReader(out))
		require.NoError(t, err)
		start, err := probe.Decode[probe.Start](records[0])
		require.NoError(t, err)
		args, err := probe.Decode[probe.LoadArgs](probe.Record{Body: start.Args})
		require.NoError(t, err)
		refused := strings.Contains(stderr.String(), "realtime")
		require.Equal(t, flag == "--realtime" && !refused, args.Realtime, stderr.String())
	}
}

// The real binary: static, small, ends with its stdin, and with SIGTERM.
func TestBinary(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the binary")
	}
	binary := filepath.Join(t.TempDir(), "lbprobe")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	message, err := build.CombinedOutput()
	require.NoError(t, err, string(message))
	info, err := os.Stat(binary)
	require.NoError(t, err)
	require.Less(t, info.Size(), int64(10<<20))

	for _, end := range []string{probe.ReasonStdinClosed, probe.ReasonCancelled} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		command := exec.CommandContext(ctx, binary, "serve", "--until-stdin-eof", "--http=127.0.0.1:0", "--tcp=", "--udp=")
		stdin, err := command.StdinPipe()
		require.NoError(t, err)
		stdout, err := command.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, command.Start())
		first := make([]byte, 4096)
		n, err := stdout.Read(first) // it runs
		require.NoError(t, err)
		if end == probe.ReasonCancelled {
			require.NoError(t, command.Process.Signal(os.Interrupt))
		} else {
			require.NoError(t, stdin.Close())
		}
		rest, err := io.ReadAll(stdout)
		require.NoError(t, err)
		require.NoError(t, command.Wait())
		require.Equal(t, end, endReason(t, append(first[:n], rest...)))
	}
}
