// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package repository

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEverySourceFileHasALicence(t *testing.T) {
	const identifier, holder = "SPDX-License-Identifier: Apache-2.0", "Copyright The lbmatrix Authors"
	for _, name := range files(t, "*.go") {
		want := "// " + identifier + "\n// " + holder + "\n"
		assert.True(t, strings.HasPrefix(read(t, name), want), "%s does not begin with\n%s", name, want)
	}
	for _, name := range files(t, "*.sh", ".ci", ".github/workflows", "Makefile") {
		if strings.Contains(name, "testdata/") {
			continue
		}
		lines := strings.Split(read(t, name), "\n")
		head := strings.Join(lines[:min(4, len(lines))], "\n")
		assert.True(t, strings.Contains(head, "# "+identifier+"\n# "+holder), "%s does not name its licence in its first lines", name)
	}
}

func TestEveryPackageHasADocComment(t *testing.T) {
	docs := map[string][]string{} // by folder
	commands := map[string]bool{}
	for _, name := range files(t, "*.go") {
		dir := path.Dir(name)
		if strings.Contains(dir, "testdata") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, name), nil, parser.PackageClauseOnly|parser.ParseComments)
		require.NoError(t, err)
		docs[dir] = append(docs[dir], docText(file)...)
		commands[dir] = commands[dir] || file.Name.Name == "main"
	}
	for dir, all := range docs {
		want := "Package " + path.Base(dir) + " "
		if commands[dir] {
			want = "Command " + path.Base(dir) + " "
		}
		if dir == "." {
			want = "Package lbmatrix "
		}
		if assert.Len(t, all, 1, "%s: want one package comment", dir) {
			assert.True(t, strings.HasPrefix(all[0], want), "%s: the package comment should begin with %q", dir, want)
		}
	}
}

func docText(file *ast.File) []string {
	if text := file.Doc.Text(); text != "" {
		return []string{text}
	}
	return nil
}

// A module with replace directives cannot be required by others, or installed.
func TestModulesReplaceNothing(t *testing.T) {
	for _, dir := range []string{".", ".github/tools"} {
		cmd := exec.CommandContext(t.Context(), "go", "mod", "edit", "-json", "go.mod")
		cmd.Dir = filepath.Join(root, dir)
		out, err := cmd.Output()
		require.NoError(t, err)
		var mod struct {
			Module           struct{ Path string }
			Replace, Exclude []any
		}
		require.NoError(t, json.Unmarshal(out, &mod))
		assert.True(t, strings.HasPrefix(mod.Module.Path, "github.com/lbmatrix/lbmatrix"), mod.Module.Path)
		assert.Empty(t, mod.Replace, "%s/go.mod replaces modules", dir)
		assert.Empty(t, mod.Exclude, "%s/go.mod excludes modules", dir)
	}
}

func TestEveryToDoHasAnIssue(t *testing.T) {
	mark := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME)\b(\(#\d+\))?`)
	for name, text := range texts(t) {
		for _, m := range mark.FindAllStringSubmatchIndex(text, -1) {
			if m[4] < 0 {
				t.Errorf("%s:%d: %s without an issue; write %[3]s(#123): ...", name, lineOf(text, m[0]), text[m[2]:m[3]])
			}
		}
	}
}

// What judges and reports must work anywhere, years later, from a folder of files.
func TestImportsPointDownwards(t *testing.T) {
	heavy := []string{"k8s.io/", "sigs.k8s.io/", "helm.sh/", "github.com/docker/", "github.com/moby/", "github.com/google/go-containerregistry"}
	for _, pattern := range []string{"./cmd/lbprobe", "./harness/probe/...", "./harness/journal", "./harness/judge", "./harness/report/..."} {
		cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{.ImportPath}}", pattern)
		cmd.Dir = root
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		for imported := range strings.FieldsSeq(string(out)) {
			for _, prefix := range heavy {
				assert.False(t, strings.HasPrefix(imported, prefix), "%s imports %s", pattern, imported)
			}
		}
	}
}
