// Package keyvalue is a store of keys and values that lasts: it is shared by the workers and outlives the router. The policy's
// policy.toml has imports = ["keyvalue"].
package keyvalue

import (
	"unsafe"

	"patchbay/internal/abi"
)

//go:wasmimport patchbay:policy/keyvalue@0.1.0 get
func get(key string, out unsafe.Pointer)

//go:wasmimport patchbay:policy/keyvalue@0.1.0 exists
func exists(key string, out unsafe.Pointer)

//go:wasmimport patchbay:policy/keyvalue@0.1.0 set
func set(key string, value unsafe.Pointer, length uint32, out unsafe.Pointer)

//go:wasmimport patchbay:policy/keyvalue@0.1.0 set-with-ttl
func setWithTTL(key string, value unsafe.Pointer, length, ttlSecs uint32, out unsafe.Pointer)

//go:wasmimport patchbay:policy/keyvalue@0.1.0 delete
func remove(key string, out unsafe.Pointer)

//go:wasmimport patchbay:policy/keyvalue@0.1.0 increment
func increment(key string, delta int64, out unsafe.Pointer)

//go:wasmimport patchbay:policy/keyvalue@0.1.0 increment-with-ttl
func incrementWithTTL(key string, delta int64, ttlSecs uint32, out unsafe.Pointer)

//go:wasmimport patchbay:policy/keyvalue@0.1.0 list-keys
func listKeys(prefix, after string, out unsafe.Pointer)

// Get is the value; ok is false when there is none, or its time is over.
func Get(key string) (value []byte, ok bool, err error) {
	get(key, abi.Out())
	if err := abi.Failed(); err != nil {
		return nil, false, err
	}
	if !abi.Flag(abi.Result[1]) {
		return nil, false, nil
	}
	return abi.Bytes(abi.Result[2], abi.Result[3]), true, nil
}

// Exists says whether there is a value.
func Exists(key string) (bool, error) {
	exists(key, abi.Out())
	if err := abi.Failed(); err != nil {
		return false, err
	}
	return abi.Flag(abi.Result[1]), nil
}

// Set sets the value, for ever. It has at most 64 KiB.
func Set(key string, value []byte) error {
	set(key, unsafe.Pointer(unsafe.SliceData(value)), uint32(len(value)), abi.Out())
	return abi.Failed()
}

// SetWithTTL sets the value for this time.
func SetWithTTL(key string, value []byte, ttlSecs uint32) error {
	setWithTTL(key, unsafe.Pointer(unsafe.SliceData(value)), uint32(len(value)), ttlSecs, abi.Out())
	return abi.Failed()
}

// Delete removes the value; that there is none is no error.
func Delete(key string) error {
	remove(key, abi.Out())
	return abi.Failed()
}

// The sum has 64 bits, so that the answer is aligned to them.
func sum() (int64, error) {
	if err := abi.FailedAt(2); err != nil {
		return 0, err
	}
	return int64(uint64(abi.Result[2]) | uint64(abi.Result[3])<<32), nil
}

// Increment adds to the number that the value is, in one step for all workers, and says what it is now.
func Increment(key string, delta int64) (int64, error) {
	increment(key, delta, abi.Out())
	return sum()
}

// IncrementWithTTL does the same; a value that is made by it lasts for this time.
func IncrementWithTTL(key string, delta int64, ttlSecs uint32) (int64, error) {
	incrementWithTTL(key, delta, ttlSecs, abi.Out())
	return sum()
}

// ListKeys are the keys that begin so, in order, at most 1000 of them: those behind the key after, which may be empty.
func ListKeys(prefix, after string) ([]string, error) {
	listKeys(prefix, after, abi.Out())
	if err := abi.Failed(); err != nil {
		return nil, err
	}
	words := abi.Words(abi.Result[1], abi.Result[2], 2)
	keys := make([]string, len(words)/2)
	for i := range keys {
		keys[i] = abi.Text(words[2*i], words[2*i+1])
	}
	return keys, nil
}
