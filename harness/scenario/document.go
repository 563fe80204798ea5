// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package scenario

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// MaxSize is the largest scenario or values file that is read.
const MaxSize = 1 << 20

// parse reads the one YAML document of a file. It returns a nil node when there
// are errors. Aliases are refused: they hide what a scenario says from whoever
// reads it, and a few of them expand to gigabytes.
func parse(name string, data []byte) (*source, *yaml.Node, Errors) {
	if len(data) > MaxSize {
		src := newSource(name, "")
		return src, nil, Errors{src.errorAt(1, 1, fmt.Sprintf("file is larger than %d bytes", MaxSize), "")}
	}
	if at := invalidUTF8(data); at >= 0 {
		src := newSource(name, string(data))
		before := newSource(name, string(data[:at]))
		line := len(before.lines)
		return src, nil, Errors{src.errorAt(line, len(before.lines[line-1])+1, "file is not valid UTF-8", "")}
	}
	src := newSource(name, string(data))
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return src, nil, Errors{src.errorAt(1, 1, "file is empty", "")}
	} else if err != nil {
		return src, nil, Errors{syntaxError(src, err)}
	}
	var errs Errors
	var second yaml.Node
	if err := decoder.Decode(&second); err == nil {
		errs = append(errs, src.errorAt(second.Line, second.Column,
			"a second YAML document starts here", "write one scenario a file"))
	} else if !errors.Is(err, io.EOF) {
		errs = append(errs, syntaxError(src, err))
	}
	if document.Kind != yaml.DocumentNode || len(document.Content) != 1 || document.Content[0].ShortTag() == "!!null" {
		return src, nil, append(errs, src.errorAt(1, 1, "file is empty", ""))
	}
	root := document.Content[0]
	errs = append(errs, refuseAliases(src, root)...)
	if len(errs) > 0 {
		return src, nil, errs
	}
	return src, root, nil
}

// refuseAliases walks the tree as written; an alias is not followed.
func refuseAliases(src *source, n *yaml.Node) Errors {
	var errs Errors
	switch {
	case n.Kind == yaml.AliasNode:
		return append(errs, src.errorAt(n.Line, n.Column, "alias *"+clip(n.Value)+" is not allowed", "write the value out"))
	case n.Anchor != "":
		errs = append(errs, src.errorAt(n.Line, n.Column, "anchor &"+clip(n.Anchor)+" is not allowed", "aliases are refused, so it has no use"))
	}
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 && child.ShortTag() == "!!merge" {
			errs = append(errs, src.errorAt(child.Line, child.Column, "merge key << is not allowed", "write the fields out"))
		}
		errs = append(errs, refuseAliases(src, child)...)
	}
	return errs
}

// syntaxError turns the parser's text into an error with a position. The parser
// tells the line at most, so the caret goes to its first character.
func syntaxError(src *source, err error) *Error {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1
	if found := regexp.MustCompile(`^line (\d+): `).FindStringSubmatch(message); found != nil {
		if n, err := strconv.Atoi(found[1]); err == nil {
			line = n
		}
		message = strings.TrimPrefix(message, found[0])
	}
	line = min(max(line, 1), len(src.lines))
	column := 1
	for column <= len(src.lines[line-1]) && (src.lines[line-1][column-1] == ' ' || src.lines[line-1][column-1] == '\t') {
		column++
	}
	return src.errorAt(line, column, "not valid YAML: "+message, "")
}

// invalidUTF8 gives the offset of the first byte that is not UTF-8, or -1.
func invalidUTF8(data []byte) int {
	for at := 0; at < len(data); {
		r, size := utf8.DecodeRune(data[at:])
		if r == utf8.RuneError && size == 1 {
			return at
		}
		at += size
	}
	return -1
}
