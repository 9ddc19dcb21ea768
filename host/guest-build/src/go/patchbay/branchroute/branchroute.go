// Package branchroute is the hook branch-route: it runs for each branch before it is sent, when armed.
package branchroute

import "patchbay/internal/abi"

// Verdict is what the hook decides.
type Verdict uint32

const (
	// Pass sends it, with the edits made.
	Pass Verdict = iota
	// Drop does not start this branch.
	Drop
)

// Hook is what runs.
var Hook = func() Verdict { return Pass }

//go:wasmexport patchbay:policy/branch-route@0.1.0#branch-route
func run() uint32 {
	defer abi.Guard()
	return uint32(Hook())
}
