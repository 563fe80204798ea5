// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

// Package pcap reads what the capture instrument recorded: into a file for Wireshark
// and tcpdump, and into which MACs a connection's two ends were seen at.
package pcap

import (
	"fmt"
	"io"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/lbmatrix/lbmatrix/harness/probe"
)

// Write makes a pcapng file of a run's records: its interface, each frame with its
// direction, and what was dropped. A torn run gives what there is of it.
func Write(out io.Writer, records []probe.Record) error {
	run, err := read(records)
	if err != nil {
		return fmt.Errorf("write pcapng: %w", err)
	}
	intf := pcapgo.DefaultNgInterface
	intf.Name, intf.LinkType, intf.SnapLength = run.start.Interface, layers.LinkTypeEthernet, uint32(run.args.SnapLen)
	options := pcapgo.DefaultNgWriterOptions
	options.SectionInfo.Application = "lbmatrix"
	w, err := pcapgo.NewNgWriterInterface(out, intf, options)
	if err != nil {
		return fmt.Errorf("write pcapng: %w", err)
	}
	for _, f := range run.frames {
		direction := pcapgo.NgEpbFlagDirectionInbound
		if f.Outgoing {
			direction = pcapgo.NgEpbFlagDirectionOutbound
		}
		info := gopacket.CaptureInfo{Timestamp: time.Unix(0, f.AtNS), CaptureLength: len(f.Data), Length: max(f.Length, len(f.Data))}
		if err := w.WritePacketWithOptions(info, f.Data, pcapgo.NgPacketOptions{Flags: &pcapgo.NgEpbFlags{Direction: direction}}); err != nil {
			return fmt.Errorf("write pcapng: %w", err)
		}
	}
	if run.ended {
		stats := pcapgo.NgInterfaceStatistics{
			LastUpdate:      time.Unix(0, run.endNS),
			PacketsReceived: uint64(run.totals.KernelPackets), PacketsDropped: uint64(run.totals.KernelDrops),
		}
		if err := w.WriteInterfaceStats(0, stats); err != nil {
			return fmt.Errorf("write pcapng: %w", err)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write pcapng: %w", err)
	}
	return nil
}

// capture is one run.
type capture struct {
	start  probe.Start
	args   probe.CaptureArgs
	frames []probe.CaptureFrame
	totals probe.CaptureTotals
	endNS  int64
	ended  bool
}

func read(records []probe.Record) (capture, error) {
	var c capture
	var err error
	for _, record := range records {
		switch record.Kind {
		case probe.KindStart:
			if c.start, err = probe.Decode[probe.Start](record); err == nil && len(c.start.Args) > 0 {
				c.args, err = probe.Decode[probe.CaptureArgs](probe.Record{Seq: record.Seq, Kind: record.Kind, Body: c.start.Args})
			}
		case probe.KindCaptureFrame:
			var f probe.CaptureFrame
			f, err = probe.Decode[probe.CaptureFrame](record)
			c.frames = append(c.frames, f)
		case probe.KindEnd:
			var end probe.End
			if end, err = probe.Decode[probe.End](record); err == nil && len(end.Totals) > 0 {
				c.totals, err = probe.Decode[probe.CaptureTotals](probe.Record{Seq: record.Seq, Kind: record.Kind, Body: end.Totals})
			}
			c.endNS, c.ended = record.Time, true
		}
		if err != nil {
			return c, err
		}
	}
	return c, nil
}
