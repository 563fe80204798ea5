// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/exchange"
	"github.com/lbmatrix/lbmatrix/harness/probe/stream"
)

func exchangeCommand(flags *flag.FlagSet) instrument {
	var c exchange.Config
	flags.Func("target", "`name=protocol://address:port/bytes`, protocol udp or http; repeated: exchange i goes to target i mod n", func(text string) error {
		t, err := parseExchange(text)
		c.Targets = append(c.Targets, t)
		return err
	})
	flags.IntVar(&c.Count, "count", 20, "exchanges with each target")
	flags.DurationVar(&c.Interval, "interval", 0, "time between the starts of two exchanges; 0: one after the other")
	flags.DurationVar(&c.Timeout, "timeout", 2*time.Second, "of one exchange")
	return func(ctx context.Context, w *stream.Writer) error { return exchange.Run(ctx, c, w) }
}

func parseExchange(text string) (probe.ExchangeTarget, error) {
	name, address, ok := strings.Cut(text, "=")
	if !ok {
		return probe.ExchangeTarget{}, errors.New("want name=protocol://address:port/bytes")
	}
	u, err := url.Parse(address)
	if err != nil {
		return probe.ExchangeTarget{}, fmt.Errorf("parse target: %w", err)
	}
	size, err := strconv.Atoi(strings.TrimPrefix(u.Path, "/"))
	if err != nil {
		return probe.ExchangeTarget{}, fmt.Errorf("parse target's bytes: %w", err)
	}
	return probe.ExchangeTarget{Name: name, Protocol: u.Scheme, Address: u.Host, Bytes: size}, nil
}
