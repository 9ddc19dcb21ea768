// Package random has random numbers from the router; a policy has no other source of them.
package random

//go:wasmimport patchbay:policy/random@0.1.0 u64
func u64() uint64

// Uint64 is 64 unpredictable bits.
func Uint64() uint64 { return u64() }
