// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package judge_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lbmatrix/lbmatrix/harness/judge"
)

// A run of requests may be thrown away for what the client left unsent, and for nothing
// that it measured.
func TestTrafficMadeAgain(t *testing.T) {
	const check = "baseline/reachable-cluster-policy"
	for name, tc := range map[string]struct {
		first     firstRun
		code, say string
	}{
		"some were not sent":             {firstRun{dropped: 40}, "ok", ""},
		"some were cut off":              {firstRun{cancelled: 3}, "ok", ""},
		"all were sent":                  {firstRun{}, "no-data", "run http-new was discarded although its client was not what failed"},
		"some were not sent, one failed": {firstRun{dropped: 40, errors: 1}, "no-data", "was discarded although"},
		"nobody says so":                 {firstRun{dropped: 40, untold: true}, "no-data", "run http-new was made and is neither judged nor discarded"},
	} {
		t.Run(name, func(t *testing.T) {
			w := healthy()
			w.first = &tc.first
			v := verdicts(t, w)[check].Verdict
			require.Equal(t, tc.code, v.Code, v.Message)
			require.Contains(t, v.Message, tc.say)
			if tc.code == "ok" {
				require.Len(t, v.Findings, 1)
				require.Contains(t, v.Findings[0].Message, "run http-new was made again")
			}
		})
	}
	// What fails after all, too, is told with what was made again before it.
	w := healthy()
	w.first, w.errors["echo-cluster"] = &firstRun{dropped: 40}, 9
	v := verdicts(t, w)[check].Verdict
	require.Equal(t, judge.Failed, v.Outcome)
	require.Len(t, v.Findings, 1)
}
