// Package counters has counters of the policy, shown as patchbay_policy_counter_total{policy, name}.
package counters

import (
	"unsafe"

	"patchbay/internal/abi"
)

//go:wasmimport patchbay:policy/counters@0.1.0 add
func add(name string, value uint64, out unsafe.Pointer)

// Add adds to a counter, which begins at 0.
func Add(name string, value uint64) error {
	add(name, value, abi.Out())
	return abi.Failed()
}
