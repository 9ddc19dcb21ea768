// Package clock is the time. Go's own package time shows nothing of use in a policy.
package clock

//go:wasmimport patchbay:policy/clock@0.1.0 unix-ms
func unixMs() uint64

//go:wasmimport patchbay:policy/clock@0.1.0 monotonic-us
func monotonicUs() uint64

// UnixMs is the number of milliseconds since 1970-01-01 UTC.
func UnixMs() uint64 { return unixMs() }

// MonotonicUs is the number of microseconds from a fixed point that does not jump.
func MonotonicUs() uint64 { return monotonicUs() }
