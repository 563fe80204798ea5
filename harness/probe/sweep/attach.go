// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package sweep

import (
	"net/netip"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/ether"
)

// Attach opens the socket of a sweep on the interface named in start, where conn has none
// yet, and says in start where the sweep is. It returns the address to ask from, which
// source chooses.
func Attach(conn *ether.Conn, start *probe.Start, open func(name string) (ether.Conn, error), source func(ether.Local) (netip.Addr, error)) (netip.Addr, error) {
	if *conn == nil {
		opened, err := open(start.Interface)
		if err != nil {
			return netip.Addr{}, err
		}
		*conn = opened
	}
	local := (*conn).Local()
	start.Interface, start.MAC = local.Interface, local.MAC.String()
	address, err := source(local)
	if err == nil {
		start.Address = address.String()
	}
	return address, err
}
