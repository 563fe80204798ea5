// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package netns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/cluster"
	"github.com/lbmatrix/lbmatrix/harness/cluster/stdio"
	"github.com/lbmatrix/lbmatrix/harness/ledger"
)

// stopWait is how long a machine's first process may take to end once its stdin has.
const stopWait = 3 * time.Second

// stdinGrace is how long a cancelled command may take to end after its stdin was
// closed: an instrument uses it to write its end record.
const stdinGrace = time.Second

// machine is a process 1 in namespaces of its own, and whatever else runs in them.
type machine struct {
	name   string
	pid    int // in this process's PID namespace
	ledger *ledger.Ledger
	entry  ledger.Entry
	stdin  io.Closer     // its end ends the machine
	done   chan struct{} // closed when process 1 has ended
}

// startMachine starts an empty machine. Like every process it is recorded after it was
// started; it ends with this process, however that ends, so none can be forgotten.
func startMachine(l *ledger.Ledger, probe, name string) (*machine, error) {
	cmd := exec.Command(probe, "idle", "--until-stdin-eof")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC,
		// A group of its own: Ctrl-C on the terminal reaches only who can clean up.
		Setpgid: true,
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start machine %s: %w", name, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start machine %s: %w", name, err)
	}
	m := &machine{name: name, pid: cmd.Process.Pid, ledger: l, stdin: stdin, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is of no interest
		close(m.done)
	}()
	m.entry, err = ledger.ProcessEntry("machine "+name, m.pid)
	if err == nil {
		err = l.Add(m.entry)
	}
	if err != nil {
		_ = stdin.Close() // it ends
		return nil, fmt.Errorf("start machine %s: %w", name, err)
	}
	return m, nil
}

// stop ends a machine with everything in it.
func (m *machine) stop(ctx context.Context) error {
	if m == nil {
		return nil
	}
	_ = m.stdin.Close() // twice is fine
	select {
	case <-m.done:
	case <-time.After(stopWait):
		if err := syscall.Kill(m.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop machine %s: %w", m.name, err)
		}
		select {
		case <-m.done:
		case <-ctx.Done():
			return fmt.Errorf("stop machine %s: %w", m.name, context.Cause(ctx))
		}
	case <-ctx.Done():
		return fmt.Errorf("stop machine %s: %w", m.name, context.Cause(ctx))
	}
	return m.ledger.Done(m.entry)
}

// keep makes a machine outlive this process: something in it holds the pipe that its
// first process reads. The ledger still names it.
func (m *machine) keep(ctx context.Context) error {
	cmd := m.command(ctx, "sh", "-c", "exec 9>/proc/1/fd/0; sleep infinity >/dev/null 2>&1 & test -e /proc/$!")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("keep machine %s: %w: %s", m.name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// enter is the command line that runs something inside.
func (m *machine) enter() []string {
	return []string{"nsenter", "--target", strconv.Itoa(m.pid), "--net", "--mount", "--uts", "--ipc", "--pid", "--"}
}

// command makes a command that runs inside. It leads a process group, which its children
// are in too: killing the group ends the program, killing nsenter alone would not.
func (m *machine) command(ctx context.Context, path string, args ...string) *exec.Cmd {
	argv := append(append(m.enter(), path), args...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return killGroup(cmd) }
	return cmd
}

func killGroup(cmd *exec.Cmd) error {
	err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// Name implements cluster.Host.
func (m *machine) Name() string { return m.name }

// Run implements cluster.Host. When ctx ends stdin is closed, then everything that the
// command started is killed.
func (m *machine) Run(ctx context.Context, c cluster.Command) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("run %s on %s: %w", c.Path, m.name, context.Cause(ctx))
	}
	cmd := m.command(ctx, c.Path, c.Args...)
	tail := &stdio.Tail{}
	cmd.Stdout, cmd.Stderr = c.Stdout, io.Writer(tail)
	if c.Stderr != nil {
		cmd.Stderr = io.MultiWriter(c.Stderr, tail)
	}
	closeStdin, err := stdio.Feed(cmd, c.Stdin)
	if err != nil {
		return fmt.Errorf("run %s on %s: %w", c.Path, m.name, err)
	}
	defer closeStdin()
	cmd.Cancel = func() error {
		closeStdin()
		if c.Stdin == nil {
			return killGroup(cmd)
		}
		time.AfterFunc(stdinGrace, func() { _ = killGroup(cmd) }) // it may have ended by then
		return nil
	}
	err = cmd.Run()
	if ctx.Err() != nil {
		return fmt.Errorf("run %s on %s: %w", c.Path, m.name, context.Cause(ctx))
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() && !strings.HasPrefix(tail.String(), "nsenter:") {
		return &cluster.ExitError{Host: m.name, Path: c.Path, Args: c.Args, Code: exit.ExitCode(), Stderr: tail.String()}
	}
	if err != nil {
		return fmt.Errorf("run %s on %s: %w: %s", c.Path, m.name, err, tail.String())
	}
	return nil
}

// script runs a shell script inside, which ends at its first mistake.
func (m *machine) script(ctx context.Context, text string) error {
	return m.Run(ctx, cluster.Command{Path: "sh", Args: []string{"-ec", text}})
}

// furnish gives a machine its own view of this host: nothing that is mounted or written
// in it is seen outside, and nothing outside can be written from it but what a command
// was handed open. Its addresses are those of one link, eth0, which must be there. Without
// an IPv6 address it has no IPv6; with one it has it at once, and asks nobody whether it may.
func (m *machine) furnish(ctx context.Context, more string, addresses ...netip.Prefix) error {
	six := "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6 2>/dev/null || true\n"
	if slices.ContainsFunc(addresses, func(p netip.Prefix) bool { return p.Addr().Is6() }) {
		six = "for conf in all default eth0; do echo 0 >/proc/sys/net/ipv6/conf/$conf/disable_ipv6; echo 0 >/proc/sys/net/ipv6/conf/$conf/accept_dad; done\n"
	}
	text := "mount --make-rprivate /\n" +
		"mount -t proc proc /proc\n" +
		"mount -t sysfs sysfs /sys\n" +
		"mount -t tmpfs -o mode=755 tmpfs /run\n" +
		"mkdir /run/lbmatrix\n" +
		"mount -o remount,bind,ro /\n" +
		"hostname " + m.name + "\n" +
		six +
		"ip link set lo up\n"
	for _, a := range addresses {
		text += fmt.Sprintf("ip addr add %s dev eth0\n", a)
	}
	if len(addresses) > 0 {
		text += "ip link set eth0 up\n"
	}
	if err := m.script(ctx, text+more); err != nil {
		return fmt.Errorf("furnish machine %s: %w", m.name, err)
	}
	return nil
}

// inside is the path of a file of the machine's, as this process sees it.
func (m *machine) inside(path string) string {
	return "/proc/" + strconv.Itoa(m.pid) + "/root" + path
}

// netns is the path of the machine's network namespace.
func (m *machine) netns() string { return "/proc/" + strconv.Itoa(m.pid) + "/ns/net" }
