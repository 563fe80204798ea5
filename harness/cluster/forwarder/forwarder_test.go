// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package forwarder_test

import (
	"io"
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/cluster/forwarder"
	"github.com/lbmatrix/lbmatrix/harness/ledger"
)

// forwardEnv makes this test binary the inner half of a forwarder.
const forwardEnv = "LBMATRIX_TEST_FORWARD"

func TestMain(m *testing.M) {
	if os.Getenv(forwardEnv) != "" {
		os.Exit(serveDescriptor())
	}
	os.Exit(m.Run())
}

// serveDescriptor answers each connection on descriptor 3 and ends with stdin.
func serveDescriptor() int {
	l, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return 1
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("hello"))
			_ = c.Close()
		}
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

func TestForwarder(t *testing.T) {
	t.Setenv(forwardEnv, "1")
	l, err := ledger.Open(t.TempDir(), "x")
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	f, err := forwarder.Start(l, io.Discard, []string{self})
	require.NoError(t, err)
	require.Len(t, l.Entries(), 1)
	conn, err := net.Dial("tcp", f.Address())
	require.NoError(t, err)
	got, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Equal(t, "hello", string(got))
	require.NoError(t, f.Stop(t.Context()))
	require.Empty(t, l.Entries())
	_, err = net.Dial("tcp", f.Address())
	require.Error(t, err)

	_, err = forwarder.Start(l, io.Discard, []string{"/does/not/exist"})
	require.ErrorIs(t, err, os.ErrNotExist)
}
