// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/lbmatrix/lbmatrix/harness/docker"
)

func (a *app) dockerCommand() *cobra.Command {
	var purge bool
	cmd := &cobra.Command{
		Use:   "docker start|stop|status",
		Short: "A Docker daemon of its own where none answers",
		Long: `Start does nothing where a daemon answers. Elsewhere it installs Debian's docker.io and starts dockerd in a network
namespace that has no way out, with a socket and data folder of its own. It never touches a daemon that is not its own.`,
		Example: `  lbmatrix docker start
  DOCKER_HOST=$(lbmatrix docker status) docker ps
  lbmatrix docker stop --purge`,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"start", "stop", "status"},
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, o := cmd.Context(), docker.Options{Out: a.stdout, Purge: purge}
			var err error
			switch args[0] {
			case "start":
				err = docker.Start(ctx, o)
			case "stop":
				err = docker.Stop(ctx, o)
			default:
				var d *docker.Client
				if d, err = docker.Find(ctx); err == nil {
					fmt.Fprintln(a.stdout, d.Host)
				}
			}
			if errors.Is(err, os.ErrPermission) {
				err = fmt.Errorf("%w; run as root", err)
			}
			if err != nil {
				return failed(err)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&purge, "purge", false, "stop: remove the daemon's images and containers as well")
	return cmd
}
