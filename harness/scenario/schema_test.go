// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package scenario_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/lbmatrix/lbmatrix/harness/scenario"
)

const directory = "../../scenarios"

func TestSchemaIsCommitted(t *testing.T) {
	text, err := scenario.Schema()
	require.NoError(t, err)
	golden(t, filepath.Join(directory, "schema.json"), string(text))
}

// compiled is the schema as another implementation reads it.
func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := scenario.Schema()
	require.NoError(t, err)
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("schema.json", document))
	schema, err := compiler.Compile("schema.json")
	require.NoError(t, err)
	return schema
}

func validate(t *testing.T, schema *jsonschema.Schema, text []byte) error {
	t.Helper()
	var document any
	require.NoError(t, yaml.Unmarshal(text, &document))
	asJSON, err := json.Marshal(document)
	require.NoError(t, err)
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	require.NoError(t, err)
	return schema.Validate(instance)
}

func TestSchemaTakesCommittedScenarios(t *testing.T) {
	schema := compiled(t)
	files, err := filepath.Glob(filepath.Join(directory, "*.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		if strings.HasSuffix(file, ".values.yaml") {
			continue
		}
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, validate(t, schema, text), file)
		s, err := scenario.LoadFile(file, scenario.Options{})
		require.NoError(t, err)
		resolved, err := json.Marshal(s)
		require.NoError(t, err)
		require.NoError(t, validate(t, schema, resolved), "%s, resolved", file)
	}
}

// What the schema refuses Load refuses too, and Load refuses no less than it
// for the errors that a schema can express.
func TestSchemaAgreesWithLoad(t *testing.T) {
	schema := compiled(t)
	require.NoError(t, validate(t, schema, []byte(good)))
	onlyLoad := []string{
		"too large", "two documents", "alias and anchor", "merge key", "duplicate key", "octal integer", "bad syntax", "bad second document",
		"tab as indent", "not UTF-8", "key that is no name", "host bits", "small CIDR", "loopback CIDR", "subnets overlap", "subnet overlaps default",
		"duration too long", "unknown mutation", "unknown check", "unknown consequence", "consequence is the check", "component twice",
		"custom tag", "long line", "ratio infinite", "ratio not a number",
		"cilium without its CNI", "cilium without the component", "kube-proxy with DSR", "strictARP without ipvs", "minSyncPeriod without kube-proxy", "minSyncPeriod too long", "IPv6 on containers", "IPv6 to break where there is none", "known-bad with mutations", "more Services than addresses", "fewer backends than workers", "pod subnet too small for the nodes", "Service subnet too small for more",
	}
	for _, c := range changes() {
		if slices.Contains(onlyLoad, c.name) || strings.HasPrefix(c.name, "values") {
			continue
		}
		text := strings.Replace(good, c.old, c.new, 1)
		assert.Error(t, validate(t, schema, []byte(text)), c.name)
	}
}

// walk visits every leaf of the schema.
func walk(node map[string]any, path string, visit func(path string, node map[string]any, required bool), required bool) {
	if path != "" {
		visit(path, node, required)
	}
	if items, ok := node["items"].(map[string]any); ok {
		if items["properties"] == nil {
			return
		}
		walk(items, path+"[]", func(p string, n map[string]any, r bool) {
			if p != path+"[]" {
				visit(p, n, r)
			}
		}, false)
	}
	properties, _ := node["properties"].(map[string]any)
	names, _ := node["required"].([]any)
	for _, name := range ordered(properties) {
		inner := name
		if path != "" {
			inner = path + "." + name
		}
		walk(properties[name].(map[string]any), inner, visit, slices.Contains(names, any(name)))
	}
}

func ordered(m map[string]any) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func schemaTree(t *testing.T) map[string]any {
	t.Helper()
	text, err := scenario.Schema()
	require.NoError(t, err)
	var tree map[string]any
	require.NoError(t, json.Unmarshal(text, &tree))
	return tree
}

// The descriptions in types.go tell defaults and ranges; rules and SetDefaults do them.
func TestDescriptionsAreTrue(t *testing.T) {
	defaults := regexp.MustCompile(`default ([^\s,;]+)`)
	ranges := regexp.MustCompile(`, ([0-9]+) to ([0-9]+)(,|;|$)`)
	number := func(text string) float64 { f, err := strconv.ParseFloat(text, 64); require.NoError(t, err); return f }
	walk(schemaTree(t), "", func(path string, node map[string]any, _ bool) {
		about := node["description"].(string)
		if found := defaults.FindStringSubmatch(about); found != nil && path != "spec.limits.maxErrorRatio" {
			switch got := node["default"].(type) {
			case float64:
				assert.InDelta(t, number(found[1]), got, 1e-12, path)
			default:
				assert.Equal(t, found[1], got, path)
			}
		}
		if found := ranges.FindStringSubmatch(about); found != nil {
			assert.Equal(t, number(found[1]), node["minimum"], path)
			assert.Equal(t, number(found[2]), node["maximum"], path)
		}
	}, true)
}

func TestSchemaTableInREADME(t *testing.T) {
	const begin, end = "<!-- fields: go test ./harness/scenario -run Schema -update -->\n", "<!-- end of fields -->"
	var table strings.Builder
	table.WriteString("\n| field | type | default | meaning |\n|---|---|---|---|\n")
	walk(schemaTree(t), "", func(path string, node map[string]any, required bool) {
		if node["properties"] != nil {
			return
		}
		text := "required"
		if !required {
			text = ""
			if d, ok := node["default"]; ok {
				text = fmt.Sprintf("`%v`", d)
			}
		}
		fmt.Fprintf(&table, "| `%s` | %v | %s | %s |\n", path, node["type"], text, strings.ReplaceAll(node["description"].(string), "|", "\\|"))
	}, true)
	table.WriteString("\n")
	file := filepath.Join(directory, "README.md")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(text), begin)
	require.True(t, ok, "README.md has no %q", begin)
	_, after, ok := strings.Cut(rest, end)
	require.True(t, ok, "README.md has no %q", end)
	golden(t, file, before+begin+table.String()+end+after)
}
