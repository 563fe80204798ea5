// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package repository

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/lbmatrix/lbmatrix/harness/judge"
	"github.com/lbmatrix/lbmatrix/scenarios"
)

// makeTargets are the Makefile's, each with what its help line says ("" without one).
func makeTargets(t *testing.T) map[string]string {
	t.Helper()
	targets := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z0-9-]+):([^=\n].*)?$`).FindAllStringSubmatch(read(t, "Makefile"), -1) {
		_, help, _ := strings.Cut(m[2], "## ")
		targets[m[1]] = help
	}
	return targets
}

func TestEveryMakeTargetHasHelp(t *testing.T) {
	targets := makeTargets(t)
	for _, want := range []string{"matrix", "test", "e2e", "lint", "bench", "evidence", "images", "docker", "docker-stop", "clean", "fuzz", "help"} {
		assert.Contains(t, targets, want)
	}
	for name, help := range targets {
		assert.NotEmpty(t, help, "target %s has no ## line", name)
	}
}

// subcommands are those that cmd/lbmatrix defines.
func subcommands(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{"help": true, "completion": true} // cobra's
	for _, name := range files(t, "cmd/lbmatrix/*.go") {
		for _, m := range regexp.MustCompile(`Use:\s+"([a-z]+)`).FindAllStringSubmatch(read(t, name), -1) {
			all[m[1]] = true
		}
	}
	return all
}

// A command in a document is a line of a code block or a span in backquotes.
func TestDocumentedCommandsExist(t *testing.T) {
	targets, commands := makeTargets(t), subcommands(t)
	inMake := regexp.MustCompile("(?m)(?:^|`|&& |\\$ |run: )(?:sudo )?make ([a-z][a-z0-9-]*)")
	inProgram := regexp.MustCompile("(?m)(?:^|`|&& |\\$ |\\()(?:sudo )?(?:bin/)?lbmatrix ([a-z]+)")
	for _, name := range files(t, "*.md", ".github/workflows", ".ci") {
		text := read(t, name)
		for _, m := range inMake.FindAllStringSubmatch(text, -1) {
			assert.Contains(t, targets, m[1], "%s: make %s", name, m[1])
		}
		if !strings.HasSuffix(name, ".md") {
			continue
		}
		for _, m := range inProgram.FindAllStringSubmatch(code(text), -1) {
			assert.True(t, commands[m[1]], "%s: there is no command lbmatrix %s", name, m[1])
		}
	}
}

// code is what a Markdown document shows as code.
func code(text string) string {
	var out []string
	inBlock := false
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(trimmed, "```"):
			inBlock = !inBlock
		case inBlock:
			out = append(out, trimmed)
		default:
			for i, span := range strings.Split(line, "`") {
				if i%2 == 1 {
					out = append(out, span)
				}
			}
		}
	}
	return strings.Join(out, "\n")
}

func TestLinksLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, name := range files(t, "*.md") {
		if strings.Contains(name, "testdata/") {
			continue
		}
		for _, m := range link.FindAllStringSubmatch(read(t, name), -1) {
			target, _, _ := strings.Cut(m[1], "#")
			if target == "" || strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			_, err := os.Stat(filepath.Join(root, filepath.Dir(name), target))
			assert.NoError(t, err, "%s links to %s", name, m[1])
		}
	}
}

// The documents name what there is, and each scenario's file is in the index.
func TestDocumentsAreInStep(t *testing.T) {
	readme, doc := read(t, "README.md"), read(t, "docs/scenarios.md")
	for _, name := range scenarios.Names() {
		assert.Contains(t, readme, name, "README.md leaves a scenario out")
		assert.Contains(t, doc, name, "docs/scenarios.md leaves a scenario out")
	}
	checks := read(t, "docs/checks.md")
	for _, id := range judge.IDs() {
		assert.Contains(t, checks, id, "docs/checks.md leaves a check out")
	}
	for _, mark := range []string{"<!-- matrix:begin -->", "<!-- matrix:end -->"} {
		assert.Equal(t, 1, strings.Count(readme, mark), mark)
	}
}

// The exit codes are a promise: the documents and the program say the same.
func TestExitCodesAreDocumented(t *testing.T) {
	for _, name := range []string{"README.md", "docs/running.md"} {
		for _, row := range []string{"| 0 |", "| 1 |", "| 2 |", "| 3 |", "| 4 |"} {
			assert.Contains(t, read(t, name), row, name)
		}
	}
}
