// Package timers has timers of the policy; they end in event-route.
package timers

import (
	"unsafe"

	"patchbay/internal/abi"
)

//go:wasmimport patchbay:policy/timers@0.1.0 set
func set(name string, delayMs uint32, out unsafe.Pointer)

//go:wasmimport patchbay:policy/timers@0.1.0 cancel
func cancel(name string) uint32

// Set sets (or sets anew) the timer of this name on this worker.
func Set(name string, delayMs uint32) error {
	set(name, delayMs, abi.Out())
	return abi.Failed()
}

// Cancel cancels it; false when there is none of that name.
func Cancel(name string) bool { return cancel(name) != 0 }
