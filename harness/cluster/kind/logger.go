// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package kind

import (
	"fmt"
	"io"
	"strings"
	"sync"

	"sigs.k8s.io/kind/pkg/log"
)

// logger writes kind's messages as lines.
type logger struct {
	mu  sync.Mutex
	out io.Writer
}

func (l *logger) line(level, msg string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// Nothing can be done about a log that cannot be written.
	_, _ = fmt.Fprintf(l.out, "kind: %s%s\n", level, strings.TrimSpace(msg))
}

func (l *logger) Warn(msg string)           { l.line("warning: ", msg) }
func (l *logger) Warnf(f string, a ...any)  { l.Warn(fmt.Sprintf(f, a...)) }
func (l *logger) Error(msg string)          { l.line("error: ", msg) }
func (l *logger) Errorf(f string, a ...any) { l.Error(fmt.Sprintf(f, a...)) }

// V enables kind's messages for people and its debug messages, not its traces.
func (l *logger) V(v log.Level) log.InfoLogger { return &infoLogger{l, v <= 1} }

type infoLogger struct {
	*logger
	enabled bool
}

func (l *infoLogger) Info(msg string) {
	if l.enabled {
		l.line("", msg)
	}
}
func (l *infoLogger) Infof(f string, a ...any) { l.Info(fmt.Sprintf(f, a...)) }
func (l *infoLogger) Enabled() bool            { return l.enabled }
