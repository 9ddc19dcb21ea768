// Package instance is the hook init: it runs once in every instance before its first hook.
package instance

import (
	"unsafe"

	"patchbay/internal/abi"
)

// Init is what runs. An error means that this version is not activated.
var Init = func() error { return nil }

var (
	result  [3]uint32
	problem string
)

//go:wasmexport patchbay:policy/init@0.1.0#init
func run() unsafe.Pointer {
	defer abi.Guard()
	result = [3]uint32{}
	if err := Init(); err != nil {
		problem = err.Error()
		result = [3]uint32{1, abi.Pointer(problem), uint32(len(problem))}
	}
	return unsafe.Pointer(&result)
}
