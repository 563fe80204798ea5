// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package kind

import (
	"context"
	"fmt"

	"github.com/lbmatrix/lbmatrix/harness/cluster/await"
	"github.com/lbmatrix/lbmatrix/harness/docker"
)

// peerShares is the CPU weight of client and observer (docker's default is 1024). An
// instrument needs little time but needs it when a frame is due: on a machine that
// the nodes keep busy it would otherwise be sent late, and measure its own waiting.
const peerShares = "16384"

// ProbePath is lbprobe in the containers of client and observer, and in the probe image.
const ProbePath = "/lbprobe"

// startPeer starts the client or the observer on the segment. Its main process only
// sits there; instruments are run beside it.
func startPeer(ctx context.Context, o *Options, name string) error {
	args := []string{
		"run", "--detach",
		"--name", name, "--hostname", name, "--network", o.Name,
		"--cpu-shares", peerShares, "--cap-add", "NET_ADMIN", "--cap-add", "NET_RAW", "--entrypoint", ProbePath,
	}
	for _, l := range o.labels() {
		args = append(args, "--label", l)
	}
	if _, err := o.Docker.Output(ctx, append(args, o.Images.Probe, "idle")...); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	return waitRunning(ctx, o.Docker, name)
}

func waitRunning(ctx context.Context, d *docker.Client, name string) error {
	return await.Until(ctx, await.Wait{For: name + " to run with an address", Within: peerWait},
		func(ctx context.Context) (bool, string, error) {
			c, err := inspect(ctx, d, name)
			if err != nil {
				return false, "", err
			}
			return c.running && c.address.IsValid(), fmt.Sprintf("running=%t address=%s", c.running, c.address), nil
		})
}
