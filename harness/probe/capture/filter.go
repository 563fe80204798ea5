// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package capture

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/net/bpf"
)

// maxAddresses keeps every jump of the filter within its 8 bits.
const maxAddresses = 32

// Offsets in an untagged Ethernet frame that carries IPv4 (RFC 791, RFC 9293).
const (
	etherTypeAt   = 12
	ipHeaderAt    = 14
	fragmentAt    = ipHeaderAt + 6
	protocolAt    = ipHeaderAt + 9
	sourceAt      = ipHeaderAt + 12
	destinationAt = ipHeaderAt + 16
	tcpFlagsAt    = ipHeaderAt + 13 // beyond the IP header's length

	etherTypeIPv4 = 0x0800
	protocolTCP   = 6
	protocolUDP   = 17
	flagSYN       = 0x02
	fragmentMask  = 0x1fff
)

// filter assembles the socket filter: of the IPv4 packets from or to one of the
// addresses every UDP datagram's first fragment and every TCP segment with SYN set,
// which a connection has one of in each direction.
func filter(addresses []netip.Addr) ([]bpf.RawInstruction, error) {
	n := len(addresses)
	if n == 0 || n > maxAddresses {
		return nil, fmt.Errorf("assemble filter: want 1 to %d addresses, got %d", maxAddresses, n)
	}
	// After each address that does not match the next one is compared; a match jumps to
	// the protocol, which follows 2n+2 instructions after the first load.
	program := []bpf.Instruction{
		bpf.LoadAbsolute{Off: etherTypeAt, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: etherTypeIPv4, SkipTrue: uint8(2*n + 12)}, // drop
		bpf.LoadAbsolute{Off: sourceAt, Size: 4},
	}
	for i, a := range addresses {
		if !a.Is4() {
			return nil, fmt.Errorf("assemble filter: %s is not IPv4", a)
		}
		program = append(program, bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(a.AsSlice()), SkipTrue: uint8(2*n + 1 - i)})
	}
	program = append(program, bpf.LoadAbsolute{Off: destinationAt, Size: 4})
	for i, a := range addresses {
		program = append(program, bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(a.AsSlice()), SkipTrue: uint8(n - i)})
	}
	program = append(program,
		bpf.Jump{Skip: 9}, // drop
		bpf.LoadAbsolute{Off: fragmentAt, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: fragmentMask, SkipTrue: 7}, // drop
		bpf.LoadAbsolute{Off: protocolAt, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocolUDP, SkipTrue: 4},    // accept
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protocolTCP, SkipTrue: 4}, // drop
		bpf.LoadMemShift{Off: ipHeaderAt},
		bpf.LoadIndirect{Off: tcpFlagsAt, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: flagSYN, SkipTrue: 1}, // drop
		bpf.RetConstant{Val: SnapLen},
		bpf.RetConstant{Val: 0},
	)
	raw, err := bpf.Assemble(program)
	if err != nil {
		return nil, fmt.Errorf("assemble filter: %w", err)
	}
	return raw, nil
}
