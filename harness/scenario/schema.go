// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package scenario

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/google/jsonschema-go/jsonschema"
)

// Schema gives the JSON schema of a scenario file, indented. It says all that a
// schema can; what it can't (overlapping subnets, known names) only Load finds.
func Schema() ([]byte, error) {
	root, err := schemaOf()
	if err != nil {
		return nil, err
	}
	compact, err := json.Marshal(root)
	if err != nil {
		return nil, fmt.Errorf("encode schema: %w", err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, compact, "", "  "); err != nil {
		return nil, fmt.Errorf("indent schema: %w", err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// schemaOf makes the schema of the types and puts rules and defaults on it.
func schemaOf() (*jsonschema.Schema, error) {
	root, err := jsonschema.For[Scenario](&jsonschema.ForOptions{
		TypeSchemas: map[reflect.Type]*jsonschema.Schema{
			reflect.TypeFor[Duration](): {Type: "string", Pattern: durationPattern},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("make schema: %w", err)
	}
	root.Schema = "https://json-schema.org/draft/2020-12/schema"
	root.Title = "lbmatrix scenario"
	defaults := &Scenario{}
	defaults.SetDefaults()
	if err := refine(root, reflect.ValueOf(defaults).Elem(), "", rules(Options{})); err != nil {
		return nil, fmt.Errorf("make schema: %w", err)
	}
	return root, nil
}

// refine adds what the types don't say to the schema of v, which is at path.
func refine(s *jsonschema.Schema, v reflect.Value, path string, rules map[string]rule) error {
	if r, ok := rules[path]; ok {
		r.refine(s)
	}
	switch v.Kind() {
	case reflect.Struct:
		for _, f := range fieldsOf(v.Type()) {
			inner := v.Field(f.index)
			// Written defaults only: a required field has none, nor has what an empty list holds.
			if !f.required && !inner.IsZero() && inner.Kind() != reflect.Struct {
				text, err := json.Marshal(inner.Interface())
				if err != nil {
					return fmt.Errorf("default of %s: %w", f.name, err)
				}
				s.Properties[f.name].Default = text
			}
			if err := refine(s.Properties[f.name], inner, join(path, f.name), rules); err != nil {
				return err
			}
		}
	case reflect.Slice:
		s.Type, s.Types = "array", nil // null is no list
		return refine(s.Items, reflect.Zero(v.Type().Elem()), path+"[]", rules)
	case reflect.Map:
		s.Type, s.Types = "object", nil
	}
	return nil
}

// refine writes one rule into a schema.
func (r rule) refine(s *jsonschema.Schema) {
	for _, allowed := range r.oneOf {
		s.Enum = append(s.Enum, allowed)
	}
	s.Minimum, s.Maximum, s.ExclusiveMinimum, s.ExclusiveMaximum = r.min, r.max, r.above, r.below
	if r.pattern != "" {
		s.Pattern = r.pattern
	}
	if r.maxLength > 0 {
		s.MaxLength = &r.maxLength
	}
	if r.minItems > 0 {
		s.MinItems = &r.minItems
	}
	s.UniqueItems = r.uniqueItems
}
