// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package probe

// KindExchange is the record of one exchange: ExchangeResult.
const KindExchange = "exchange.result"

// EchoPrefix begins a datagram that the backend sends back as it is. Any other datagram
// it answers with its Identity.
const EchoPrefix = "lbecho1\n"

// What an exchange sends and expects.
const (
	ExchangeUDP  = "udp"  // a datagram of Bytes bytes that begins with EchoPrefix, and the same back
	ExchangeHTTP = "http" // GET /bytes?n=Bytes on a new connection, and the pattern as its body
)

// ErrorCorrupt is an exchange whose answer has not the bytes that were due.
const ErrorCorrupt = "corrupt"

// ErrorTooLarge is a datagram that the client's own kernel refused: EMSGSIZE.
const ErrorTooLarge = "too-large"

// ExchangeArgs is Start.Args of the exchange instrument.
type ExchangeArgs struct {
	Targets    []ExchangeTarget `json:"targets"`    // exchange i goes to target i mod len
	Count      int              `json:"count"`      // exchanges with each target
	IntervalNS int64            `json:"intervalNS"` // between the starts of two exchanges; 0: one begins when the one before has ended
	TimeoutNS  int64            `json:"timeoutNS"`  // of one exchange
}

// ExchangeTarget is one address, and how much is exchanged with it.
type ExchangeTarget struct {
	Name     string `json:"name"`
	Protocol string `json:"protocol"` // ExchangeUDP or ExchangeHTTP
	Address  string `json:"address"`  // host:port
	Bytes    int    `json:"bytes"`    // of the datagram, or of the response's body
}

// ExchangeResult is one exchange. There are few of them: each is kept in full.
type ExchangeResult struct {
	Target     string `json:"target"`
	Number     int    `json:"number"`  // from 0, over all targets
	StartNS    int64  `json:"startNS"` // when it began: before the connection is opened
	DurationNS int64  `json:"durationNS"`
	Received   int64  `json:"received"`            // bytes of the answer that came and were right
	ErrorKind  string `json:"errorKind,omitempty"` // one of the Error constants; empty when all is as it must be
	Message    string `json:"message,omitempty"`
	Local      string `json:"local,omitempty"` // our own address
}

// ExchangeTotals is End.Totals of the exchange instrument.
type ExchangeTotals struct {
	Exchanges int `json:"exchanges"` // ExchangeResult records
	OK        int `json:"ok"`        // those without an error
}
