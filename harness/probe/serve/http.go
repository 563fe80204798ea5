// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package serve

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strconv"

	"github.com/lbmatrix/lbmatrix/harness/probe"
	"github.com/lbmatrix/lbmatrix/harness/probe/pattern"
)

// maxBytes bounds what GET /bytes gives: 1 GiB.
const maxBytes = 1 << 30

// textAddr is an address that is already text, as net/http gives the peer's.
type textAddr string

func (textAddr) Network() string  { return "tcp" }
func (a textAddr) String() string { return string(a) }

func (b *backend) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", b.serveIdentity)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok\n") // a peer that is gone needs no answer
	})
	mux.HandleFunc("GET /bytes", serveBytes)
	return mux
}

func (b *backend) serveIdentity(w http.ResponseWriter, r *http.Request) {
	b.http.Add(1)
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	id := b.identity("http", textAddr(r.RemoteAddr), local)
	id.Path = r.URL.Path
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(id) // as above
}

// serveBytes answers GET /bytes?n=N with the first N bytes of the pattern, 0 to maxBytes.
func serveBytes(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.ParseInt(r.URL.Query().Get("n"), 10, 64)
	if err != nil || n < 0 || n > maxBytes {
		http.Error(w, "n must be 0 to "+strconv.Itoa(maxBytes), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	chunk := make([]byte, 64<<10)
	for sent := int64(0); sent < n; {
		part := chunk[:min(n-sent, int64(len(chunk)))]
		pattern.Fill(part, sent)
		k, err := w.Write(part)
		if err != nil {
			return
		}
		sent += int64(k)
	}
}

// line is an identity as one line of JSON.
func line(id probe.Identity) []byte {
	b, err := json.Marshal(id)
	if err != nil { // strings, numbers and a clock's own time always encode
		return []byte("{}\n")
	}
	return append(b, '\n')
}
