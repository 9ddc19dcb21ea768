// Package failureroute is the hook failure-route: it runs when every branch has failed, with the best response, when armed.
package failureroute

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
	// Pass sends the best response to the caller.
	Pass = Verdict{tag: 0}
	// Relay tries the targets added in this hook, in the same transaction. Hooks have to be armed again.
	Relay = Verdict{tag: 2}
)

// Reply sends this response instead.
func Reply(status uint16, reason string) Verdict { return Verdict{1, status, reason} }

// Hook is what runs.
var Hook = func() Verdict { return Pass }

//go:wasmexport patchbay:policy/failure-route@0.1.0#failure-route
func run() unsafe.Pointer {
	defer abi.Guard()
	verdict := Hook()
	return abi.Reply(verdict.tag, verdict.status, verdict.reason)
}
