// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package ndp

import (
	"fmt"

	"golang.org/x/net/bpf"

	"github.com/lbmatrix/lbmatrix/harness/probe/ether"
)

// filter assembles the socket filter: neighbour advertisements, valid or not.
func filter() ([]bpf.RawInstruction, error) {
	raw, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: etherTypeIPv6, SkipTrue: 5}, // drop
		bpf.LoadAbsolute{Off: ipAt + 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: icmpv6, SkipTrue: 3}, // drop
		bpf.LoadAbsolute{Off: icmpAt, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(TypeAdvertisement), SkipTrue: 1}, // drop
		bpf.RetConstant{Val: ether.MaxFrameLen},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		return nil, fmt.Errorf("assemble filter: %w", err)
	}
	return raw, nil
}
