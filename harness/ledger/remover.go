// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// The answers of a DockerRemover that are not failures.
var (
	// ErrGone says that the thing was not there.
	ErrGone = errors.New("already gone")
	// ErrDaemonDown says that the daemon the thing lives in does not answer, so
	// nobody can say whether the thing exists.
	ErrDaemonDown = errors.New("the docker daemon does not answer")
)

// DockerRemover removes containers, networks and volumes, whichever daemon an
// entry names. It returns ErrGone for what was not there and ErrDaemonDown when it
// could not ask.
type DockerRemover interface {
	RemoveDocker(ctx context.Context, e Entry) error
}

// DockerCLI removes with the docker command.
type DockerCLI struct {
	// Command makes a docker command for the daemon at host (DOCKER_HOST).
	Command func(ctx context.Context, host string, args ...string) *exec.Cmd
	// DataGone reports whether everything the daemon at host ever held is gone with
	// it (its data root was deleted). Nil asks nobody: entries of a dead daemon stay. That
	// its socket's directory is gone says nothing: /run is empty after a reboot, and the
	// containers come back with the daemon.
	DataGone func(host string) bool
}

// dockerTimeout bounds one removal: a hung daemon must not hang a clean.
const dockerTimeout = 60 * time.Second

// RemoveDocker implements DockerRemover. Anonymous volumes go with their container.
func (d DockerCLI) RemoveDocker(ctx context.Context, e Entry) error {
	var args []string
	switch e.Kind {
	case Container:
		args = []string{"rm", "-f", "-v", e.Name}
	case Network:
		args = []string{"network", "rm", e.Name}
	case Volume:
		args = []string{"volume", "rm", "-f", e.Name}
	default:
		return fmt.Errorf("remove %s %s: not docker's", e.Kind, e.Name)
	}
	ctx, cancel := context.WithTimeout(ctx, dockerTimeout)
	defer cancel()
	var out bytes.Buffer
	cmd := d.Command(ctx, e.Host, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	text := strings.TrimSpace(out.String())
	switch answer := classify(text); {
	case answer == ErrDaemonDown && d.DataGone != nil && d.DataGone(e.Host):
		return ErrGone
	case answer != nil:
		return answer
	case err != nil:
		return fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, text)
	}
	return nil
}

// classify reads what docker said. `docker rm -f` of a missing container fails in
// some versions and succeeds in others; all of them say "No such".
func classify(out string) error {
	lower := strings.ToLower(out)
	for _, s := range []string{"no such container", "no such network", "no such volume", "not found"} {
		if strings.Contains(lower, s) && !strings.Contains(lower, "executable file") {
			return ErrGone
		}
	}
	for _, s := range []string{"cannot connect to the docker daemon", "error during connect", "connection refused"} {
		if strings.Contains(lower, s) {
			return ErrDaemonDown
		}
	}
	return nil
}

// removePath deletes a file or a directory tree. It refuses what no run of ours
// could have made, so that a damaged ledger cannot take a home directory with it.
func removePath(e Entry) error {
	p := filepath.Clean(e.Name)
	if !filepath.IsAbs(p) || strings.Count(p, string(filepath.Separator)) < 2 {
		return fmt.Errorf("remove %s %q: refused, not a path a run makes", e.Kind, e.Name)
	}
	if home, err := os.UserHomeDir(); err == nil && p == filepath.Clean(home) {
		return fmt.Errorf("remove %s %q: refused, it is the home directory", e.Kind, e.Name)
	}
	if e.Kind == File {
		err := os.Remove(p)
		if errors.Is(err, os.ErrNotExist) {
			return ErrGone
		}
		return err
	}
	if _, err := os.Lstat(p); errors.Is(err, os.ErrNotExist) {
		return ErrGone
	}
	return os.RemoveAll(p)
}
