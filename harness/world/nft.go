// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package world

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/containernetworking/plugins/pkg/ns"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// tableName is the name of every table that a world makes.
const tableName = "world"

// Mark of connections that leave with the node's own address, as kube-proxy's.
const masqueradeMark = 0x4000

// The nft registers that the rules use.
const (
	reg1 = 1
	reg2 = 2
)

// translationAvailable says why the kernel's address translation cannot be used in a
// namespace, or nil.
func translationAvailable(space ns.NetNS) error {
	r, err := newRules(space, nftables.TableFamilyIPv4)
	if err != nil {
		return err
	}
	chain := r.chain("probe", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest)
	target := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), 80)
	r.add(chain, join(random(2), to(target)))
	if err := r.flush(); err != nil {
		return fmt.Errorf("translate addresses: %w (it needs the kernel's CONFIG_NF_TABLES, NFT_NAT and NFT_NUMGEN)", err)
	}
	return nil
}

// rules is one nftables table that is being written. The kernel is spoken to directly:
// a user's machine need not have the nft program.
type rules struct {
	conn  *nftables.Conn
	table *nftables.Table
}

func newRules(space ns.NetNS, family nftables.TableFamily) (*rules, error) {
	conn, err := nftables.New(nftables.WithNetNSFd(int(space.Fd())))
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	return &rules{conn: conn, table: conn.AddTable(&nftables.Table{Family: family, Name: tableName})}, nil
}

func (r *rules) chain(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority *nftables.ChainPriority) *nftables.Chain {
	return r.conn.AddChain(&nftables.Chain{Name: name, Table: r.table, Type: kind, Hooknum: hook, Priority: priority})
}

func (r *rules) add(chain *nftables.Chain, exprs []expr.Any) {
	r.conn.AddRule(&nftables.Rule{Table: r.table, Chain: chain, Exprs: exprs})
}

func (r *rules) flush() error {
	if err := r.conn.Flush(); err != nil {
		return fmt.Errorf("write nftables rules: %w", err)
	}
	return nil
}

func join(parts ...[]expr.Any) []expr.Any {
	var all []expr.Any
	for _, part := range parts {
		all = append(all, part...)
	}
	return all
}

// be is a number in network order, host one in the kernel's.
func be16(n int) []byte      { return binary.BigEndian.AppendUint16(nil, uint16(n)) }
func be32(n int) []byte      { return binary.BigEndian.AppendUint32(nil, uint32(n)) }
func host32(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

func equal(data []byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: data}
}

// packetsTo matches IPv4 packets of a protocol to an address and port.
func packetsTo(protocol byte, dest netip.AddrPort) []expr.Any {
	addr := dest.Addr().As4()
	return []expr.Any{
		&expr.Payload{DestRegister: reg1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4}, // destination address
		equal(addr[:]),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg1},
		equal([]byte{protocol}),
		&expr.Payload{DestRegister: reg1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}, // destination port
		equal(be16(int(dest.Port()))),
	}
}

// random matches one packet in n.
func random(n int) []expr.Any {
	return []expr.Any{
		&expr.Numgen{Register: reg1, Modulus: uint32(n), Type: unix.NFT_NG_RANDOM},
		equal(host32(0)),
	}
}

// percent matches that many packets in a hundred.
func percent(p int) []expr.Any {
	return []expr.Any{
		&expr.Numgen{Register: reg1, Modulus: 100, Type: unix.NFT_NG_RANDOM},
		&expr.Byteorder{SourceRegister: reg1, DestRegister: reg1, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpLt, Register: reg1, Data: be32(p)},
	}
}

// to is the translation of a packet's destination.
func to(target netip.AddrPort) []expr.Any {
	addr := target.Addr().As4()
	return []expr.Any{
		&expr.Immediate{Register: reg1, Data: addr[:]},
		&expr.Immediate{Register: reg2, Data: be16(int(target.Port()))},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: reg1, RegProtoMin: reg2},
	}
}

// mark sets the mark of connections that are to be masqueraded; marked matches it.
func mark() []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: reg1, Data: host32(masqueradeMark)},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: reg1},
	}
}

func marked() []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyMARK, Register: reg1}, equal(host32(masqueradeMark))}
}

func longerThan(bytes int) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyLEN, Register: reg1},
		&expr.Byteorder{SourceRegister: reg1, DestRegister: reg1, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpGt, Register: reg1, Data: be32(bytes)},
	}
}

// out matches what leaves through an interface, in what came by it, notThrough the rest.
func out(name string) []expr.Any { return onInterface(expr.MetaKeyOIFNAME, expr.CmpOpEq, name) }
func in(name string) []expr.Any  { return onInterface(expr.MetaKeyIIFNAME, expr.CmpOpEq, name) }

func notThrough(name string) []expr.Any {
	return onInterface(expr.MetaKeyIIFNAME, expr.CmpOpNeq, name)
}

func onInterface(key expr.MetaKey, op expr.CmpOp, name string) []expr.Any {
	data := make([]byte, unix.IFNAMSIZ)
	copy(data, name)
	return []expr.Any{&expr.Meta{Key: key, Register: reg1}, &expr.Cmp{Op: op, Register: reg1, Data: data}}
}

func drop() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}} }

// Lose makes the bridge drop that many percent of the frames on their way to the host, each
// independently: 1 to 100.
func (h *Host) Lose(p int) error {
	r, err := newRules(h.segment.bridge, nftables.TableFamilyBridge)
	if err != nil {
		return err
	}
	chain := r.chain("lose-"+h.port, nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter)
	r.add(chain, join(out(h.port), percent(p), drop()))
	return r.flush()
}

// DropLonger makes the host, as a router, drop packets of more bytes, IP header included.
func (h *Host) DropLonger(bytes int) error {
	r, err := newRules(h.space, nftables.TableFamilyIPv4)
	if err != nil {
		return err
	}
	chain := r.chain("long", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter)
	r.add(chain, join(longerThan(bytes), drop()))
	return r.flush()
}
