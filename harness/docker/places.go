// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package docker

import (
	"errors"
	"os"
	"path/filepath"
)

// places holds every path of the project's own daemon.
type places struct {
	run   string // sockets, pid files, state: does not outlive a reboot (it may, though)
	data  string // images and containers
	netns string // the name of its network namespace, as `ip netns` knows it
}

func defaultPlaces() places {
	return places{run: "/run/lbmatrix", data: "/var/lib/lbmatrix/docker", netns: "lbmatrix-docker"}
}

// DataGone says whether host is the project's own daemon and everything it ever held
// is gone with its data root: containers that a ledger names there exist no more.
func DataGone(host string) bool { return defaultPlaces().dataGone(host) }

func (p places) dataGone(host string) bool {
	if host != p.host() {
		return false
	}
	_, err := os.Stat(p.data)
	return errors.Is(err, os.ErrNotExist)
}

func (p places) socket() string    { return filepath.Join(p.run, "docker.sock") }
func (p places) host() string      { return "unix://" + p.socket() }
func (p places) pidFile() string   { return filepath.Join(p.run, "docker.pid") }
func (p places) stateFile() string { return filepath.Join(p.run, "docker.json") }
func (p places) lockFile() string  { return filepath.Join(p.run, "docker.lock") }
func (p places) execRoot() string  { return filepath.Join(p.run, "docker") }
func (p places) config() string    { return filepath.Join(p.run, "dockerd.json") }
func (p places) log() string       { return filepath.Join(p.run, "dockerd.log") }
func (p places) runtime() string   { return filepath.Join(p.run, "lbrunc") }
func (p places) netnsFile() string { return filepath.Join("/run/netns", p.netns) }
