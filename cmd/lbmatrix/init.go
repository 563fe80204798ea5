// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package main

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lbmatrix/lbmatrix/harness/runner"
	"github.com/lbmatrix/lbmatrix/harness/scenario"
	"github.com/lbmatrix/lbmatrix/scenarios"
)

// initial is the workflow that init writes.
//
//go:embed init/workflow.yaml
var initial embed.FS

// written is one file of init.
type written struct {
	path string // below the user's repository
	data []byte
}

func (a *app) initCommand() *cobra.Command {
	var from, dir, name string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write a scenario and a GitHub workflow into a repository of your own",
		Long: `Init writes lbmatrix/<name>.yaml, a copy of a scenario of the catalogue to be changed, lbmatrix/schema.json for editors, and
.github/workflows/lbmatrix.yml, which runs it for every change. A file that is there is not overwritten: then nothing is
written at all.`,
		Example: `  lbmatrix init
  lbmatrix init --from cilium-kpr-dsr-metallb-l2 --name my-inventory --dir ../my-repository`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			files, err := initialFiles(from, name)
			if err != nil {
				return usageError(err)
			}
			if err := writeNew(dir, files); err != nil {
				return usageError(err)
			}
			for _, f := range files {
				fmt.Fprintf(a.stdout, "wrote %s\n", filepath.Join(dir, f.path))
			}
			fmt.Fprintf(a.stdout, "next: lbmatrix run --file %s\n", filepath.Join(dir, files[0].path))
			return nil
		},
	}
	cmd.Flags().StringVar(&from, "from", scenarios.Names()[0], "scenario to begin with")
	cmd.Flags().StringVar(&name, "name", "my-load-balancer", "name of the new scenario")
	cmd.Flags().StringVar(&dir, "dir", ".", "the repository's folder")
	_ = cmd.RegisterFlagCompletionFunc("from", completeScenarios)
	return cmd
}

// initialFiles makes what init writes, the scenario first.
func initialFiles(from, name string) ([]written, error) {
	sc, err := scenarios.Get(from, runner.LoadOptions())
	if err != nil {
		return nil, fmt.Errorf("init: --from: %w", err)
	}
	text, err := fs.ReadFile(scenarios.FS, from+".yaml")
	if err != nil {
		return nil, fmt.Errorf("init: %w", err)
	}
	text = bytes.Replace(text, []byte("  name: "+from+"\n"), []byte("  name: "+name+"\n"), 1)
	path := "lbmatrix/" + name + ".yaml"
	files := []written{{path: path, data: text}}
	// What the scenario names lies beside it.
	for _, c := range sc.Spec.Components {
		if c.ValuesFile == "" {
			continue
		}
		data, err := fs.ReadFile(scenarios.FS, c.ValuesFile)
		if err != nil {
			return nil, fmt.Errorf("init: %w", err)
		}
		files = append(files, written{path: "lbmatrix/" + c.ValuesFile, data: data})
	}
	opts := runner.LoadOptions()
	opts.Files = scenarios.FS
	if _, err := scenario.Load(path, text, opts); err != nil {
		return nil, fmt.Errorf("init: --name %s: %w", name, err)
	}
	schema, err := fs.ReadFile(scenarios.FS, "schema.json")
	if err != nil {
		return nil, fmt.Errorf("init: %w", err)
	}
	workflow, err := initial.ReadFile("init/workflow.yaml")
	if err != nil {
		return nil, fmt.Errorf("init: %w", err)
	}
	workflow = []byte(strings.ReplaceAll(string(workflow), "SCENARIO_FILE", path))
	return append(files, written{"lbmatrix/schema.json", schema}, written{".github/workflows/lbmatrix.yml", workflow}), nil
}

// writeNew writes all files or none: what is there is the user's.
func writeNew(dir string, files []written) error {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return fmt.Errorf("init: --dir %s is no folder: give that of a repository, or make one (git init %s)", dir, dir)
	}
	var there []string
	for _, f := range files {
		if _, err := os.Lstat(filepath.Join(dir, f.path)); err == nil {
			there = append(there, f.path)
		}
	}
	if len(there) > 0 {
		return fmt.Errorf("init: %s there already, and nothing was written; move it away, or choose another --name or --dir", strings.Join(there, ", "))
	}
	for i, f := range files {
		path := filepath.Join(dir, f.path)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = os.WriteFile(path, f.data, 0o644)
		}
		if err != nil {
			for _, done := range files[:i+1] {
				err = errors.Join(err, removed(os.Remove(filepath.Join(dir, done.path))))
			}
			return fmt.Errorf("init: %w", err)
		}
	}
	return nil
}

// removed takes what was not there for removed.
func removed(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
