// Package location is the location service: who is registered where.
package location

import (
	"unsafe"

	"patchbay/internal/abi"
)

// Found is what a lookup found.
type Found struct {
	// The number to give to BindingAt and targets.AddLookup, good in this hook.
	Lookup uint32
	// Live contacts; 0 when the address-of-record is known but has none.
	Count uint32
}

// Binding is one contact of an address-of-record.
type Binding struct {
	URI         string
	Q           uint16
	ExpiresSecs uint32
	Received    string
	UserAgent   string
	// The +sip.instance parameter, without quotes; nil when there is none.
	Instance *string
}

//go:wasmimport patchbay:policy/location@0.1.0 lookup
func lookup(uri string, out unsafe.Pointer)

//go:wasmimport patchbay:policy/location@0.1.0 lookup-request-uri
func lookupRequestURI(out unsafe.Pointer)

//go:wasmimport patchbay:policy/location@0.1.0 binding-at
func bindingAt(lookup, index uint32, out unsafe.Pointer)

//go:wasmimport patchbay:policy/location@0.1.0 is-registered-source
func isRegisteredSource(uri string) uint32

//go:wasmimport patchbay:policy/location@0.1.0 save-contact
func saveContact(aor, contact string, expiresSecs uint32, out unsafe.Pointer)

//go:wasmimport patchbay:policy/location@0.1.0 remove-contact
func removeContact(aor, contact string, out unsafe.Pointer)

func found() (Found, error) {
	if err := abi.Failed(); err != nil {
		return Found{}, err
	}
	return Found{abi.Result[1], abi.Result[2]}, nil
}

// Lookup asks for the live contacts of the address-of-record in this URI, highest q first.
func Lookup(uri string) (Found, error) {
	lookup(uri, abi.Out())
	return found()
}

// LookupRequestURI does so for the Request-URI of the current request, which need not be handed over and back.
func LookupRequestURI() (Found, error) {
	lookupRequestURI(abi.Out())
	return found()
}

// BindingAt is one contact of a lookup, from 0 in its order; nil beyond the last.
func BindingAt(lookup, index uint32) *Binding {
	bindingAt(lookup, index, abi.Out())
	r := abi.Result
	if !abi.Flag(r[0]) {
		return nil
	}
	binding := &Binding{abi.Text(r[1], r[2]), uint16(r[3]), r[4], abi.Text(r[5], r[6]), abi.Text(r[7], r[8]), nil}
	if abi.Flag(r[9]) {
		instance := abi.Text(r[10], r[11])
		binding.Instance = &instance
	}
	return binding
}

// IsRegisteredSource says whether the current request came over the flow of a live contact of that address-of-record.
func IsRegisteredSource(uri string) bool { return isRegisteredSource(uri) != 0 }

// SaveContact adds or refreshes a contact, whatever the registrar's rules.
func SaveContact(aor, contact string, expiresSecs uint32) error {
	saveContact(aor, contact, expiresSecs, abi.Out())
	return abi.Failed()
}

// RemoveContact removes a contact (every contact when it is empty), and says how many there were.
func RemoveContact(aor, contact string) (uint32, error) {
	removeContact(aor, contact, abi.Out())
	if err := abi.Failed(); err != nil {
		return 0, err
	}
	return abi.Result[1], nil
}
