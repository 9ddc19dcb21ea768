// Package transaction is the current transaction: where it came from, its variables, what qualifies the verdict.
package transaction

import (
	"unsafe"

	"patchbay/internal/abi"
)

// Transport is the transport of a message.
type Transport uint8

const (
	UDP Transport = iota
	TCP
	TLS
	WS
	WSS
)

// Hooks run only when they are armed.
type Hooks uint8

const (
	BranchRoute Hooks = 1 << iota
	OnreplyRoute
	FailureRoute
)

// MessageSource is where a message came from.
type MessageSource struct {
	Transport Transport
	// The address the message came from, without port.
	Address string
	Port    uint16
	// The local address it came to, ip:port.
	Local string
}

//go:wasmimport patchbay:policy/transaction@0.1.0 source
func source(out unsafe.Pointer)

//go:wasmimport patchbay:policy/transaction@0.1.0 source-address
func sourceAddress(out unsafe.Pointer)

//go:wasmimport patchbay:policy/transaction@0.1.0 source-in
func sourceIn(networks string) uint32

//go:wasmimport patchbay:policy/transaction@0.1.0 in-dialog
func inDialog() uint32

//go:wasmimport patchbay:policy/transaction@0.1.0 is-local-uri
func isLocalURI(uri string) uint32

//go:wasmimport patchbay:policy/transaction@0.1.0 failure-round
func failureRound() uint32

//go:wasmimport patchbay:policy/transaction@0.1.0 variable
func variable(name string, out unsafe.Pointer)

//go:wasmimport patchbay:policy/transaction@0.1.0 set-variable
func setVariable(name, value string, out unsafe.Pointer)

//go:wasmimport patchbay:policy/transaction@0.1.0 arm
func arm(hooks uint32)

//go:wasmimport patchbay:policy/transaction@0.1.0 set-record-route
func setRecordRoute(enabled uint32)

//go:wasmimport patchbay:policy/transaction@0.1.0 add-record-route-parameter
func addRecordRouteParameter(name, value string, out unsafe.Pointer)

//go:wasmimport patchbay:policy/transaction@0.1.0 record-route-parameter
func recordRouteParameter(name string, out unsafe.Pointer)

// Source is where the current message came from.
func Source() MessageSource {
	source(abi.Out())
	r := abi.Result
	return MessageSource{Transport(r[0]), abi.Text(r[1], r[2]), uint16(r[3]), abi.Text(r[4], r[5])}
}

// SourceAddress is the address the message came from, without port.
func SourceAddress() string {
	sourceAddress(abi.Out())
	return abi.Text(abi.Result[0], abi.Result[1])
}

// SourceIn says whether that address is in this list of addresses and networks, separated by blanks or commas.
func SourceIn(networks string) bool { return sourceIn(networks) != 0 }

// InDialog says whether the request belongs to a dialog that this router has record-routed.
func InDialog() bool { return inDialog() != 0 }

// IsLocalURI says whether the host of this URI is one this router is responsible for.
func IsLocalURI(uri string) bool { return isLocalURI(uri) != 0 }

// FailureRound is how often failure-route has started new targets in this transaction.
func FailureRound() uint32 { return failureRound() }

// Variable is a text kept with the transaction, from hook to hook.
func Variable(name string) (string, bool) {
	variable(name, abi.Out())
	return abi.Option()
}

// SetVariable sets it, or sets it anew.
func SetVariable(name, value string) error {
	setVariable(name, value, abi.Out())
	return abi.Failed()
}

// Arm arms hooks for the branches that this verdict starts, besides those armed before.
func Arm(hooks Hooks) { arm(uint32(hooks)) }

// SetRecordRoute turns Record-Route off or on for this request.
func SetRecordRoute(enabled bool) {
	if enabled {
		setRecordRoute(1)
	} else {
		setRecordRoute(0)
	}
}

// AddRecordRouteParameter adds a parameter of our Record-Route.
func AddRecordRouteParameter(name, value string) error {
	addRecordRouteParameter(name, value, abi.Out())
	return abi.Failed()
}

// RecordRouteParameter is the parameter as it came back; none outside of dialogs.
func RecordRouteParameter(name string) (string, bool) {
	recordRouteParameter(name, abi.Out())
	return abi.Option()
}
