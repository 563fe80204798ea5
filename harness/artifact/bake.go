// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package artifact

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/artifact/proc"
	"github.com/lbmatrix/lbmatrix/harness/docker"
	"github.com/lbmatrix/lbmatrix/harness/ledger"
)

// feed runs a docker command whose standard input is written by write.
func feed(ctx context.Context, d *docker.Client, write func(io.Writer) error, args ...string) error {
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := write(w)
		w.CloseWithError(err)
		written <- err
	}()
	cmd := d.Command(ctx, args...)
	cmd.Stdin = r
	_, err := proc.Run(ctx, cmd)
	ended := errors.New("docker has ended")
	r.CloseWithError(ended)
	// A writer that failed explains why docker did; one that was cut off does not.
	if werr := <-written; werr != nil && !errors.Is(werr, ended) {
		return errors.Join(werr, err)
	}
	return err
}

// settings are what kind's own node image sets (images/base/Dockerfile).
func settings() []string {
	return []string{
		"--change", "ENV container=docker",
		"--change", "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"--change", `ENTRYPOINT [ "/usr/local/bin/entrypoint", "/sbin/init" ]`,
		"--change", "LABEL " + label + "=1",
	}
}

// bake puts images into a node image's own containerd store: a node that starts
// from it pulls nothing.
type bake struct {
	from, to string
	images   []image
	script   []byte // fixtures/node/bake.sh
	files    []file // programs of this machine laid into the image: source and path
}

// inLedger writes the container down before it is made, for `lbmatrix clean`.
func (b bake) inLedger(container, host string) (*ledger.Ledger, error) {
	dir, err := ledger.Dir()
	if err != nil {
		return nil, err
	}
	book, err := ledger.Open(dir, container)
	if err != nil {
		return nil, err
	}
	if err := book.Add(ledger.Entry{Kind: ledger.Container, Name: container, Host: host}); err != nil {
		return nil, errors.Join(err, book.Close(false))
	}
	return book, nil
}

func (b bake) run(ctx context.Context, d *docker.Client, note func(string)) (err error) {
	// Under the lock of b.to: a container with this name is a dead run's.
	container := "lbmatrix-bake-" + strings.NewReplacer("/", "-", ":", "-").Replace(b.to)
	remove := func(ctx context.Context) error {
		_, err := d.Output(ctx, "rm", "--force", "--volumes", container)
		if err != nil && strings.Contains(err.Error(), "No such container") {
			return nil
		}
		return err
	}
	if err := remove(ctx); err != nil {
		return err
	}
	book, err := b.inLedger(container, d.Host)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, book.Close(false)) }()
	if _, err := d.Output(ctx, "create", "--name", container, "--label", label+"=1", "--privileged", "--network", "none",
		"--stop-signal", "SIGRTMIN+3", // systemd's; commit keeps it and has no other way to set it
		"--tmpfs", "/run", "--tmpfs", "/tmp", "--interactive", "--entrypoint", "/bin/bash", b.from, "-c", string(b.script)); err != nil {
		return err
	}
	defer func() {
		// Also after Ctrl-C: nothing may stay behind.
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		gone := remove(after)
		if gone == nil {
			gone = book.Done(ledger.Entry{Kind: ledger.Container, Name: container, Host: d.Host})
		}
		err = errors.Join(err, gone)
	}()
	for _, f := range b.files {
		if _, err := d.Output(ctx, "cp", f.source, container+":/"+f.path); err != nil {
			return err
		}
	}
	refs := make([]string, len(b.images))
	for i, img := range b.images {
		refs[i] = img.ref
	}
	note("importing " + strings.Join(refs, " "))
	if err := feed(ctx, d, func(w io.Writer) error { return writeImages(w, b.images) }, "start", "--attach", "--interactive", container); err != nil {
		return err
	}
	note("committing")
	_, err = d.Output(ctx, append(append([]string{"commit"}, settings()...), container, b.to)...)
	return err
}
