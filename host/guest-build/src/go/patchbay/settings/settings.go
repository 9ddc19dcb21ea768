// Package settings is the operator's [policy.settings].
package settings

import (
	"unsafe"

	"patchbay/internal/abi"
)

//go:wasmimport patchbay:policy/settings@0.1.0 get
func get(name string, out unsafe.Pointer)

//go:wasmimport patchbay:policy/settings@0.1.0 all
func all(out unsafe.Pointer)

// Setting is a name with its value.
type Setting struct{ Name, Value string }

// Get is one setting; none when the operator did not set it.
func Get(name string) (string, bool) {
	get(name, abi.Out())
	return abi.Option()
}

// All are all settings, in the order of the names.
func All() []Setting {
	all(abi.Out())
	words := abi.Words(abi.Result[0], abi.Result[1], 4)
	settings := make([]Setting, len(words)/4)
	for i := range settings {
		settings[i] = Setting{abi.Text(words[4*i], words[4*i+1]), abi.Text(words[4*i+2], words[4*i+3])}
	}
	return settings
}
