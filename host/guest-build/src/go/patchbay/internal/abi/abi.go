// Package abi carries values over the border of the sandbox, by the canonical ABI of the component model.
package abi

import (
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"patchbay"
)

// result is aligned for numbers of 64 bits.
var result struct {
	_     [0]uint64
	words [16]uint32
}

// Result is where the router writes what a call returns. One is enough: a guest is in one call at a time.
var Result = &result.words

// Out is the address of Result.
func Out() unsafe.Pointer { return unsafe.Pointer(Result) }

// lent is what the router has written into our memory and nobody has taken yet: until then it is no garbage.
var lent = map[uintptr][]uint64{}

// nothing is the address of what has no bytes.
var nothing uint64

//go:wasmexport cabi_realloc
func realloc(old unsafe.Pointer, oldLen, align, newLen uint32) unsafe.Pointer {
	if newLen == 0 {
		return unsafe.Pointer(&nothing)
	}
	block := make([]uint64, (uint64(newLen)+7)/8)
	address := unsafe.Pointer(&block[0])
	if oldLen > 0 {
		copy(unsafe.Slice((*byte)(address), newLen), unsafe.Slice((*byte)(old), oldLen))
		delete(lent, uintptr(old))
	}
	lent[uintptr(address)] = block
	return address
}

func take(address uint32) unsafe.Pointer {
	block := lent[uintptr(address)]
	delete(lent, uintptr(address))
	return unsafe.Pointer(&block[0])
}

// Text takes a text that the router has written.
func Text(address, length uint32) string {
	if length == 0 {
		return ""
	}
	return unsafe.String((*byte)(take(address)), length)
}

// Bytes takes bytes that the router has written.
func Bytes(address, length uint32) []byte {
	if length == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(take(address)), length)
}

// Words takes a list that the router has written, whose elements have so many words each.
func Words(address, count, words uint32) []uint32 {
	if count == 0 {
		return nil
	}
	return unsafe.Slice((*uint32)(take(address)), count*words)
}

// Flag is a discriminant: the first byte of a word.
func Flag(word uint32) bool { return word&0xff != 0 }

// Option is Result as an option of a text.
func Option() (string, bool) {
	if !Flag(Result[0]) {
		return "", false
	}
	return Text(Result[1], Result[2]), true
}

// Failed is Result as the error of a call; nil when it did not fail.
func Failed() error { return FailedAt(1) }

// FailedAt does the same for an error that begins at this word.
func FailedAt(at int) error {
	if !Flag(Result[0]) {
		return nil
	}
	return &patchbay.Error{Kind: patchbay.ErrorKind(Result[at] & 0xff), Message: Text(Result[at+1], Result[at+2])}
}

// Pointer is the address of a text's bytes, for what is not handed over as an argument.
func Pointer(text string) uint32 { return uint32(uintptr(unsafe.Pointer(unsafe.StringData(text)))) }

//go:wasmimport patchbay:policy/log@0.1.0 log
func write(level uint32, message string)

// Guard is deferred by each hook: it logs a panic and where it came from, which then ends the instance.
func Guard() {
	if cause := recover(); cause != nil {
		write(4, "panic: "+describe(cause)+places())
		panic(cause)
	}
}

// places is where a panic came from, the innermost first, as far as it is the policy's.
func places() string {
	var counters [32]uintptr
	frames := runtime.CallersFrames(counters[:runtime.Callers(0, counters[:])])
	var found []string
	for more := true; more; {
		var frame runtime.Frame
		frame, more = frames.Next()
		if frame.Line > 0 && !isOurs(frame.Function) {
			file := frame.File[strings.LastIndexByte(frame.File, '/')+1:]
			found = append(found, file+":"+strconv.Itoa(frame.Line)+" in "+frame.Function)
		}
	}
	if len(found) == 0 {
		return ""
	}
	return " (" + strings.Join(found, ", from ") + ")"
}

// isOurs says whether a function is Go's or of this module, or the entry that is made for one of ours.
func isOurs(function string) bool {
	for _, prefix := range []string{"runtime.", "patchbay/", "patchbay:"} {
		if strings.HasPrefix(function, prefix) {
			return true
		}
	}
	return false
}

func describe(cause any) string {
	switch cause := cause.(type) {
	case error:
		return cause.Error()
	case string:
		return cause
	}
	return "no text says why"
}

// Answer is where a hook's verdict is; its text has to live until the router has read it.
var (
	Answer [4]uint32
	reason string
)

// Reply writes a verdict with a status and a reason.
func Reply(tag uint32, status uint16, text string) unsafe.Pointer {
	reason = text
	Answer = [4]uint32{tag, uint32(status), Pointer(text), uint32(len(text))}
	return unsafe.Pointer(&Answer)
}
