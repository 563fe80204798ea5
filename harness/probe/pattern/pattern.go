// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package pattern makes bytes that are wrong anywhere else: no two of its words are the
// same, so that a payload that was cut, shifted, repeated or mixed up does not pass for
// the one that was sent. Both ends of an exchange compute it.
package pattern

import "encoding/binary"

const wordSize = 8

// word is number i of the sequence of SplitMix64 (Steele, Lea and Flood, "Fast splittable
// pseudorandom number generators", OOPSLA 2014): a bijection of i.
func word(i uint64) uint64 {
	z := (i + 1) * 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Fill writes the bytes of the pattern from offset on (0 or more) into p.
func Fill(p []byte, offset int64) {
	var last [wordSize]byte
	for len(p) > 0 {
		i, skip := uint64(offset)/wordSize, int(offset%wordSize)
		if skip == 0 && len(p) >= wordSize {
			binary.LittleEndian.PutUint64(p, word(i))
			p, offset = p[wordSize:], offset+wordSize
			continue
		}
		binary.LittleEndian.PutUint64(last[:], word(i))
		n := copy(p, last[skip:])
		p, offset = p[n:], offset+int64(n)
	}
}

// Check returns the index of the first byte of p that is not the pattern's from offset on,
// or -1.
func Check(p []byte, offset int64) int {
	var want [4096]byte
	for done := 0; done < len(p); {
		part := p[done:min(len(p), done+len(want))]
		Fill(want[:len(part)], offset+int64(done))
		if string(part) != string(want[:len(part)]) {
			for i := range part {
				if part[i] != want[i] {
					return done + i
				}
			}
		}
		done += len(part)
	}
	return -1
}
