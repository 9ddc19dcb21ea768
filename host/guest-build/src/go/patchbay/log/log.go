// Package log is the router's log. Lines carry the policy, its version and the Call-ID.
package log

// Level is how important a line is.
type Level uint8

const (
	Trace Level = iota
	Debug
	Info
	Warn
	Error
)

//go:wasmimport patchbay:policy/log@0.1.0 log
func write(level uint32, message string)

//go:wasmimport patchbay:policy/log@0.1.0 enabled
func enabled(level uint32) uint32

// Log writes a line, or does nothing when the level is off, or when too many lines are written.
func Log(level Level, message string) { write(uint32(level), message) }

// Enabled says whether lines of this level are written at all.
func Enabled(level Level) bool { return enabled(uint32(level)) != 0 }
