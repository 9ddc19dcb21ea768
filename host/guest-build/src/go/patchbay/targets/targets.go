// Package targets is about the targets of a relay verdict, in request-route and failure-route.
package targets

import (
	"unsafe"

	"patchbay/internal/abi"
)

// Target is one to try. What is nil is not said.
type Target struct {
	URI string
	// Preference in thousandths, 0 to 1000: higher first, equal ones in parallel.
	Q uint16
	// Where to send instead of where the URI says.
	NextHop *string
	// Send from this listener, transport:ip:port as configured.
	Listener *string
	// End this branch with 408 when no final response came in this time.
	NoAnswerMs *uint32
}

//go:wasmimport patchbay:policy/targets@0.1.0 add-uri
func addURI(uri string, out unsafe.Pointer)

//go:wasmimport patchbay:policy/targets@0.1.0 add
func add(uri string, q uint32, hasHop uint32, hop string, hasListener uint32, listener string, hasTime, ms uint32, out unsafe.Pointer)

//go:wasmimport patchbay:policy/targets@0.1.0 add-lookup
func addLookup(lookup uint32, out unsafe.Pointer)

//go:wasmimport patchbay:policy/targets@0.1.0 next-group
func nextGroup()

//go:wasmimport patchbay:policy/targets@0.1.0 set-no-answer-timeout
func setNoAnswerTimeout(ms uint32)

//go:wasmimport patchbay:policy/targets@0.1.0 clear
func clearAll()

//go:wasmimport patchbay:policy/targets@0.1.0 count
func count() uint32

// AddURI adds a target with q = 1.
func AddURI(uri string) error {
	addURI(uri, abi.Out())
	return abi.Failed()
}

func option[T any](value *T) (uint32, T) {
	if value == nil {
		var none T
		return 0, none
	}
	return 1, *value
}

// Add adds a target.
func Add(target Target) error {
	hasHop, hop := option(target.NextHop)
	hasListener, listener := option(target.Listener)
	hasTime, ms := option(target.NoAnswerMs)
	add(target.URI, uint32(target.Q), hasHop, hop, hasListener, listener, hasTime, ms, abi.Out())
	return abi.Failed()
}

// AddLookup adds every live contact of the lookup of that number, and says how many there are.
func AddLookup(lookup uint32) (uint32, error) {
	addLookup(lookup, abi.Out())
	if err := abi.Failed(); err != nil {
		return 0, err
	}
	return abi.Result[1], nil
}

// NextGroup puts the targets from here on into a group of their own, tried after the ones before.
func NextGroup() { nextGroup() }

// SetNoAnswerTimeout is for the targets that have no time of their own.
func SetNoAnswerTimeout(ms uint32) { setNoAnswerTimeout(ms) }

// Clear removes the targets added so far in this hook.
func Clear() { clearAll() }

// Count is how many were added in this hook and not removed.
func Count() uint32 { return count() }
