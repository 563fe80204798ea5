// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package request

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// ErrBadResponse is wrapped by the errors of an answer that was read whole, but
// is not what serve answers.
var ErrBadResponse = errors.New("bad response")

// Classify names the kind of a request's error: a probe.Error constant.
func Classify(err error) string {
	is := func(targets ...error) bool {
		for _, target := range targets {
			if errors.Is(err, target) {
				return true
			}
		}
		return false
	}
	var netErr net.Error
	switch {
	case is(ErrBadResponse):
		return probe.ErrorBadResponse
	case is(syscall.ECONNREFUSED):
		return probe.ErrorRefused
	case is(syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED, io.EOF, io.ErrUnexpectedEOF):
		return probe.ErrorReset
	case is(syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENETDOWN):
		return probe.ErrorUnreachable
	case is(context.DeadlineExceeded, os.ErrDeadlineExceeded, syscall.ETIMEDOUT),
		errors.As(err, &netErr) && netErr.Timeout():
		return probe.ErrorTimeout
	default:
		return probe.ErrorOther
	}
}
