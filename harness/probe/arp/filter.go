// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package arp

import (
	"fmt"

	"golang.org/x/net/bpf"

	"github.com/lbmatrix/lbmatrix/harness/probe/ether"
)

// filter assembles the socket filter: all ARP but plain who-has. Other hosts'
// questions are most of the ARP on a large segment and none of our business; a
// frame that the parser would refuse passes, so that it can be counted.
func filter() ([]bpf.RawInstruction, error) {
	const opAt = headerLen + 6
	raw, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: etherTypeARP, SkipTrue: 7}, // drop
		bpf.LoadAbsolute{Off: opAt, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(OpRequest), SkipTrue: 4}, // accept
		bpf.LoadAbsolute{Off: targetIPAt, Size: 4},
		bpf.TAX{},
		bpf.LoadAbsolute{Off: senderIPAt, Size: 4},
		bpf.JumpIfX{Cond: bpf.JumpNotEqual, SkipTrue: 1}, // drop
		bpf.RetConstant{Val: ether.MaxFrameLen},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		return nil, fmt.Errorf("assemble filter: %w", err)
	}
	return raw, nil
}
