// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Error is something that could not be fetched, why, and what to do about it.
type Error struct {
	What string // image or chart, with its name
	Err  error
	Next string // the next step, as a clause
}

// Error is one line, whatever a registry wrote into its answer.
func (e *Error) Error() string {
	return strings.Join(strings.Fields(fmt.Sprintf("fetch %s: %v; %s", e.What, e.Err, e.Next)), " ")
}

func (e *Error) Unwrap() error { return e.Err }

// MismatchError is content that is not what was pinned.
type MismatchError struct{ Want, Got string }

func (e *MismatchError) Error() string {
	return fmt.Sprintf("its digest is %s and the pinned one is %s", e.Got, e.Want)
}

// answerError is an answer of a chart repository that is no success.
type answerError struct {
	url    string
	status int
}

func (e *answerError) Error() string {
	return fmt.Sprintf("GET %s: %d %s", e.url, e.status, http.StatusText(e.status))
}

func asError[T error](err error, target *T) bool { return errors.As(err, target) }

// transient says whether the same request may succeed a moment later: what broke off
// or timed out, and what a server says it has for now. What the registry library has
// tried three times already is not among it.
func transient(err error) bool {
	var answer *answerError
	if errors.As(err, &answer) {
		return answer.status == http.StatusRequestTimeout || answer.status == http.StatusTooManyRequests || answer.status >= http.StatusInternalServerError
	}
	if status(err) != 0 {
		return false
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return dns.IsTimeout || dns.IsTemporary
	}
	var timeout net.Error
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		(errors.As(err, &timeout) && timeout.Timeout() && !errors.Is(err, context.DeadlineExceeded))
}

// explain says what a failure means and what to do. host is the one that was asked.
func (c *Client) explain(what, host string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	elsewhere := "name a mirror (--registry-mirror HOST=TARGET), or build with --source go-module"
	code := status(err)
	var answer *answerError
	if errors.As(err, &answer) {
		code = answer.status
	}
	var mismatch *MismatchError
	var idle *idleError
	var unreachable *net.OpError
	var dns *net.DNSError
	next := "see whether " + host + " works from here; otherwise " + elsewhere
	switch {
	case errors.As(err, &mismatch):
		next = "look at what " + host + " serves, then `lbmatrix images pin --update`"
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		next = fmt.Sprintf("%s wants other credentials than %s: `docker login %s` or `helm registry login %s` stores them "+
			"(some registries answer like this where there is no such image)", host, c.credentials(), host, host)
	case code == http.StatusNotFound:
		next = "there is no such thing at " + host + ": look at the version and at the name"
	case code == http.StatusTooManyRequests:
		next = host + " limits how often it may be asked: `docker login " + host + "`, wait, or " + elsewhere
	case code >= http.StatusInternalServerError:
		next = fmt.Sprintf("%s fails, after %d attempts: try later, %s", host, attempts, elsewhere)
	case errors.Is(err, syscall.ENOSPC):
		next = "the disk is full: make room, or set LBMATRIX_CACHE to a folder elsewhere"
	case strings.Contains(err.Error(), "error verifying") || strings.Contains(err.Error(), "does not match"):
		// The registry library has no type for it.
		next = "what " + host + " serves is damaged or was changed, and was not kept: try again, or " + elsewhere
	case errors.As(err, &idle), errors.Is(err, io.ErrUnexpectedEOF):
		next = fmt.Sprintf("%s breaks off, %d times: look at the line and the proxy, or %s", host, attempts, elsewhere)
	case errors.As(err, &unreachable), errors.As(err, &dns):
		next = fmt.Sprintf("there is no way to %s from here: set HTTPS_PROXY where one is needed, %s", host, elsewhere)
	case strings.Contains(err.Error(), "no child with platform"):
		next = "it is not published for this machine's architecture"
	}
	return &Error{What: what, Err: err, Next: next}
}

// credentials names the places that credentials are read from.
func (c *Client) credentials() string {
	docker := os.Getenv("DOCKER_CONFIG")
	if docker == "" {
		docker = "~/.docker"
	}
	return "those in " + filepath.Join(docker, "config.json") + " and " + c.helm.RegistryConfig
}
