// Package auth is the digest authentication of the current request.
package auth

import (
	"unsafe"

	"patchbay/internal/abi"
)

// Verification is how the credentials of the request did.
type Verification uint8

const (
	// Verified: right, and for the realm of this router.
	Verified Verification = iota
	// Missing: there are none for the realm.
	Missing
	// Stale: the nonce is too old or used up.
	Stale
	// Failed: wrong password, unknown user, or a malformed header.
	Failed
)

//go:wasmimport patchbay:policy/auth@0.1.0 verify
func verify() uint32

//go:wasmimport patchbay:policy/auth@0.1.0 verified-user
func verifiedUser(out unsafe.Pointer)

//go:wasmimport patchbay:policy/auth@0.1.0 required
func required() uint32

//go:wasmimport patchbay:policy/auth@0.1.0 realm
func realm(out unsafe.Pointer)

// Verify checks Authorization (REGISTER) or Proxy-Authorization. The result holds for the rest of the transaction.
func Verify() Verification { return Verification(verify()) }

// VerifiedUser is the user whose credentials were verified, user@realm.
func VerifiedUser() (string, bool) {
	verifiedUser(abi.Out())
	return abi.Option()
}

// Required says whether registration needs authentication by configuration.
func Required() bool { return required() != 0 }

// Realm is the realm of the challenges.
func Realm() string {
	realm(abi.Out())
	return abi.Text(abi.Result[0], abi.Result[1])
}
