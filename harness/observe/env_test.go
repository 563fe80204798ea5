// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package observe

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestLastLineReadsTheEndRecord(t *testing.T) {
	const text = `{"seq":1,"kind":"start","time":1,"body":{}}` + "\n" +
		`{"seq":2,"kind":"end","time":2,"body":{"records":2,"reason":"done","totals":{"ok":3}}}` + "\n"
	rapid.Check(t, func(t *rapid.T) {
		var l lastLine
		for rest := []byte(text); len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "n")
			_, err := l.Write(rest[:n])
			require.NoError(t, err)
			rest = rest[n:]
		}
		end, err := l.end()
		require.NoError(t, err)
		require.JSONEq(t, `{"ok":3}`, string(end.Totals))
	})
}

func TestLastLineRefusesATornRun(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":      "",
		"no end":       `{"seq":1,"kind":"start","time":1,"body":{}}` + "\n",
		"torn end":     `{"seq":1,"kind":"start","time":1,"body":{}}` + "\n" + `{"seq":2,"kind":"end"`,
		"not a record": "panic: oh\n",
	} {
		t.Run(name, func(t *testing.T) {
			var l lastLine
			_, err := l.Write([]byte(text))
			require.NoError(t, err)
			_, err = l.end()
			require.Error(t, err)
		})
	}
}
