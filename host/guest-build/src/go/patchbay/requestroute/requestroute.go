// Package requestroute is the hook request-route: it runs for each new request, outside and inside dialogs.
package requestroute

import (
	"unsafe"

	"patchbay/internal/abi"
)

// Verdict is what the hook decides.
type Verdict struct {
	tag    uint32
	status uint16
	reason string
}

var (
	// Relay forwards to the targets that were added; without any, to the Request-URI (or the Route set).
	Relay = Verdict{tag: 0}
	// Challenge answers 401 (REGISTER) or 407 with a digest challenge.
	Challenge = Verdict{tag: 2}
	// Save updates the location service and answers; for REGISTER only.
	Save = Verdict{tag: 3}
	// Drop says nothing. The transaction stays to absorb retransmissions.
	Drop = Verdict{tag: 4}
	// Next leaves the decision to the next policy of the chain.
	Next = Verdict{tag: 5}
)

// Reply answers with this status; without a reason with its standard phrase.
func Reply(status uint16, reason string) Verdict { return Verdict{1, status, reason} }

// Hook is what runs.
var Hook = func() Verdict { return Next }

//go:wasmexport patchbay:policy/request-route@0.1.0#request-route
func run() unsafe.Pointer {
	defer abi.Guard()
	verdict := Hook()
	return abi.Reply(verdict.tag, verdict.status, verdict.reason)
}
