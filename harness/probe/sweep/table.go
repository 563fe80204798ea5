// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package sweep

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// Table prints a summary for people: one line a responder. First and last are when
// it was heard, from the start of the sweep; the round trip is a median.
func Table(w io.Writer, s Summary) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	_, err := fmt.Fprintln(t, "VIP\tANSWERED\tRESPONDERS\tMAC\tETHERNET SOURCE\tREPLIES\tFIRST\tLAST\tROUND TRIP\tGRATUITOUS")
	for _, vip := range s.VIPs {
		head := fmt.Sprintf("%s\t%d/%d\t%d", vip.VIP, vip.Answered, vip.Sent, vip.MACs())
		if len(vip.Responders) == 0 {
			_, lineErr := fmt.Fprintf(t, "%s\t-\t-\t0\t-\t-\t-\t%d\n", head, vip.Gratuitous)
			err = errors.Join(err, lineErr)
		}
		for i, r := range vip.Responders {
			announced := fmt.Sprint(vip.Gratuitous)
			if i > 0 {
				head, announced = "\t\t", ""
			}
			_, lineErr := fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", head, r.MAC, r.source(), r.Replies,
				s.since(r.FirstSeen), s.since(r.LastSeen), r.trip(), announced)
			err = errors.Join(err, lineErr)
		}
	}
	if err = errors.Join(err, t.Flush()); err != nil {
		return fmt.Errorf("print table: %w", err)
	}
	if s.KernelDrops > 0 {
		_, err = fmt.Fprintf(w, "the kernel dropped %d frames: there may be more responders\n", s.KernelDrops)
	}
	if !s.Complete {
		_, lineErr := fmt.Fprintf(w, "incomplete: %s\n", s.Reason)
		err = errors.Join(err, lineErr)
	}
	return err
}

// source is the frame's source, with what else tells this responder apart.
func (r Responder) source() string {
	text := r.EthernetSource
	if r.VLAN != 0 {
		text += fmt.Sprintf(" (vlan %d)", r.VLAN)
	}
	if r.Flags != "" {
		text += " [" + r.Flags + "]"
	}
	return text
}

func (r Responder) trip() string {
	if r.RoundTripNS == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f us", float64(r.RoundTripNS)/1e3)
}

func (s Summary) since(at time.Time) string {
	return fmt.Sprintf("%+.3f s", float64(at.UnixNano()-s.start)/1e9)
}
