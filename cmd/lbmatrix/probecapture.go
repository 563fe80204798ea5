// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lbmatrix/lbmatrix/harness/probe/capture"
	"github.com/lbmatrix/lbmatrix/harness/probe/pcap"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
	"github.com/lbmatrix/lbmatrix/harness/report"
)

func (a *app) probeCapture() *cobra.Command {
	var c capture.Config
	var vips []string
	var out, format string
	var duration time.Duration
	cmd := &cobra.Command{
		Use:   "capture",
		Short: "Record the frames that open connections to addresses, and tell which MACs asked and answered",
		Long: `Capture keeps every SYN, SYN-ACK and datagram from or to the addresses, until it is interrupted or its duration is over, and
lists which MAC requests were sent to and which one answered: they differ where a backend's node answers by itself (direct
server return). It needs root or CAP_NET_RAW. It exits with 3 when frames were lost.`,
		Example: `  lbmatrix probe capture --iface eth0 --vip 192.0.2.40 --duration 30s --pcapng vip.pcapng`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, v := range vips {
				addr, err := netip.ParseAddr(strings.TrimSpace(v))
				if err != nil {
					return usageError(fmt.Errorf("--vip: %w", err))
				}
				c.Addresses = append(c.Addresses, addr)
			}
			ctx, stop := stream.Lifetime(cmd.Context(), nil, duration)
			defer stop()
			return a.withFile(out, func(file io.Writer) error { return a.capture(ctx, c, file, format) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.Interface, "iface", "", "interface on the segment (required)")
	f.StringSliceVar(&vips, "vip", nil, "IPv4 addresses (required)")
	f.DurationVar(&duration, "duration", 0, "how long to record; 0: until interrupted")
	f.IntVar(&c.MaxBytes, "max-bytes", 8<<20, "of frames that are kept: the first half as they come, and the newest of the rest")
	f.StringVar(&out, "pcapng", "", "write the frames to this file, for Wireshark and tcpdump")
	_ = cmd.MarkFlagRequired("iface")
	_ = cmd.MarkFlagRequired("vip")
	outputFlag(cmd, &format, "table", "json", "records")
	return cmd
}

// capture runs the instrument in this process and sums it up.
func (a *app) capture(ctx context.Context, c capture.Config, file io.Writer, format string) error {
	var out bytes.Buffer
	runErr := capture.Run(ctx, c, stream.NewWriter(&out))
	if format == "records" {
		_, err := a.stdout.Write(out.Bytes())
		runErr = errors.Join(runErr, err)
	}
	records, err := stream.Read(&out)
	if err = errors.Join(runErr, err); err != nil {
		return failed(err)
	}
	if file != nil {
		if err := pcap.Write(file, records); err != nil {
			return failed(err)
		}
	}
	s, err := pcap.Pairs(records)
	switch {
	case err != nil:
	case format == "json":
		err = a.printJSON(s)
	case format == "table":
		err = pcap.Table(a.stdout, s)
	}
	if err != nil {
		return failed(err)
	}
	if s.KernelDrops > 0 {
		return &exitError{code: report.ExitBroken}
	}
	return nil
}
