// Package onreplyroute is the hook onreply-route: it runs for each response but 100, when armed.
package onreplyroute

import "patchbay/internal/abi"

// Verdict is what the hook decides.
type Verdict uint32

const (
	// Pass sends it, with the edits made.
	Pass Verdict = iota
	// Drop does not forward this provisional response.
	Drop
)

// Hook is what runs.
var Hook = func() Verdict { return Pass }

//go:wasmexport patchbay:policy/onreply-route@0.1.0#onreply-route
func run() uint32 {
	defer abi.Guard()
	return uint32(Hook())
}
