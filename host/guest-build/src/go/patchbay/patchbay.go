// Package patchbay is what policies in Go are written against: a package for each interface of patchbay:policy, and one for
// each hook. A policy exports the hooks whose packages it imports.
package patchbay

// ErrorKind says what went wrong in a call to the router.
type ErrorKind uint8

const (
	// NotFound: what was asked for does not exist.
	NotFound ErrorKind = iota
	// InvalidArgument: an argument breaks the SIP grammar or a limit.
	InvalidArgument
	// WrongHook: the call is not possible in this hook.
	WrongHook
	// Denied: the router or the operator does not allow it.
	Denied
	// Limit: a limit of the router is reached.
	Limit
	// Unavailable: the service is not available at the moment.
	Unavailable
)

// Error is the error of a call to the router; Message says what to change.
type Error struct {
	Kind    ErrorKind
	Message string
}

func (e *Error) Error() string { return e.Message }

// KindOf is the kind of an error of this package; ok is false for any other error, and for none.
func KindOf(err error) (kind ErrorKind, ok bool) {
	if e, is := err.(*Error); is {
		return e.Kind, true
	}
	return 0, false
}
