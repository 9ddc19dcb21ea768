// Package reply is about headers and body of a reply verdict, in request-route and failure-route.
package reply

import (
	"unsafe"

	"patchbay/internal/abi"
)

//go:wasmimport patchbay:policy/reply@0.1.0 add-header
func addHeader(name, value string, out unsafe.Pointer)

//go:wasmimport patchbay:policy/reply@0.1.0 set-body
func setBody(contentType string, body unsafe.Pointer, length uint32, out unsafe.Pointer)

// AddHeader adds a header field.
func AddHeader(name, value string) error {
	addHeader(name, value, abi.Out())
	return abi.Failed()
}

// SetBody sets the body; no bytes with an empty type are no body.
func SetBody(contentType string, body []byte) error {
	setBody(contentType, unsafe.Pointer(unsafe.SliceData(body)), uint32(len(body)), abi.Out())
	return abi.Failed()
}
