// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package request

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/probe"
)

func TestClassify(t *testing.T) {
	wrap := func(errno syscall.Errno) error {
		return fmt.Errorf("x: %w", &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", errno)})
	}
	for kind, errs := range map[string][]error{
		probe.ErrorUnreachable: {wrap(syscall.EHOSTUNREACH), wrap(syscall.ENETUNREACH), wrap(syscall.EHOSTDOWN), wrap(syscall.ENETDOWN)},
		probe.ErrorTimeout:     {wrap(syscall.ETIMEDOUT), context.DeadlineExceeded, os.ErrDeadlineExceeded},
		probe.ErrorReset:       {wrap(syscall.ECONNRESET), wrap(syscall.EPIPE), io.ErrUnexpectedEOF, io.EOF},
		probe.ErrorRefused:     {wrap(syscall.ECONNREFUSED)},
		probe.ErrorBadResponse: {fmt.Errorf("x: %w: %w", ErrBadResponse, io.EOF)},
		probe.ErrorOther:       {wrap(syscall.EADDRNOTAVAIL), io.ErrClosedPipe},
	} {
		for _, err := range errs {
			require.Equal(t, kind, Classify(err), "%v", err)
		}
	}
}
