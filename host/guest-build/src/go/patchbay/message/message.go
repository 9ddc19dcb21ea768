// Package message is the current message: the request, in branch-route the branch's request, in onreply-route the response.
package message

import (
	"unsafe"

	"patchbay/internal/abi"
)

// Facts are what nearly every hook decides by first.
type Facts uint16

const (
	InDialog Facts = 1 << iota
	Invite
	Ack
	Bye
	Cancel
	Register
	Options
	Info
	Prack
	Subscribe
	Notify
	Publish
	MessageMethod
	Refer
	Update
)

// Has says whether all of these are set.
func (f Facts) Has(facts Facts) bool { return f&facts == facts }

// Summary is what nearly every policy reads, in one crossing.
type Summary struct {
	Method, RequestURI, FromURI, ToURI, CallID, Source string
	InDialog                                           bool
}

//go:wasmimport patchbay:policy/message@0.1.0 summary
func summary(out unsafe.Pointer)

//go:wasmimport patchbay:policy/message@0.1.0 facts
func facts() uint32

//go:wasmimport patchbay:policy/message@0.1.0 method
func method(out unsafe.Pointer)

//go:wasmimport patchbay:policy/message@0.1.0 request-uri
func requestURI(out unsafe.Pointer)

//go:wasmimport patchbay:policy/message@0.1.0 request-user
func requestUser(out unsafe.Pointer)

//go:wasmimport patchbay:policy/message@0.1.0 set-request-uri
func setRequestURI(uri string, out unsafe.Pointer)

//go:wasmimport patchbay:policy/message@0.1.0 status
func status(out unsafe.Pointer)

//go:wasmimport patchbay:policy/message@0.1.0 from-uri
func fromURI(out unsafe.Pointer)

//go:wasmimport patchbay:policy/message@0.1.0 to-uri
func toURI(out unsafe.Pointer)

//go:wasmimport patchbay:policy/message@0.1.0 call-id
func callID(out unsafe.Pointer)

//go:wasmimport patchbay:policy/message@0.1.0 body
func body(out unsafe.Pointer)

//go:wasmimport patchbay:policy/message@0.1.0 set-body
func setBody(contentType string, body unsafe.Pointer, length uint32, out unsafe.Pointer)

//go:wasmimport patchbay:policy/message@0.1.0 header
func header(name string, out unsafe.Pointer)

//go:wasmimport patchbay:policy/message@0.1.0 headers
func headers(name string, out unsafe.Pointer)

//go:wasmimport patchbay:policy/message@0.1.0 headers-named
func headersNamed(names unsafe.Pointer, count uint32, out unsafe.Pointer)

//go:wasmimport patchbay:policy/message@0.1.0 headers-joined
func headersJoined(names string, out unsafe.Pointer)

//go:wasmimport patchbay:policy/message@0.1.0 has-header
func hasHeader(name string) uint32

//go:wasmimport patchbay:policy/message@0.1.0 set-header
func setHeader(name, value string, out unsafe.Pointer)

//go:wasmimport patchbay:policy/message@0.1.0 add-header
func addHeader(name, value string, out unsafe.Pointer)

//go:wasmimport patchbay:policy/message@0.1.0 remove-header
func removeHeader(name string, out unsafe.Pointer)

//go:wasmimport patchbay:policy/message@0.1.0 response-status
func responseStatus(out unsafe.Pointer)

//go:wasmimport patchbay:policy/message@0.1.0 response-header
func responseHeader(name string, out unsafe.Pointer)

func text(get func(unsafe.Pointer)) string {
	get(abi.Out())
	return abi.Text(abi.Result[0], abi.Result[1])
}

func number(get func(unsafe.Pointer)) (uint16, bool) {
	get(abi.Out())
	return uint16(abi.Result[0] >> 16), abi.Flag(abi.Result[0])
}

// All brings the facts nearly every policy reads at once; without a message every text is empty.
func All() Summary {
	summary(abi.Out())
	r := abi.Result
	return Summary{abi.Text(r[0], r[1]), abi.Text(r[2], r[3]), abi.Text(r[4], r[5]), abi.Text(r[6], r[7]), abi.Text(r[8], r[9]),
		abi.Text(r[10], r[11]), abi.Flag(r[12])}
}

// TheFacts are the facts of the current message. No method is set when it is none of these (ask Method for it).
func TheFacts() Facts { return Facts(facts()) }

// Method is the method; of a response, that of its CSeq.
func Method() string { return text(method) }

// RequestURI is the Request-URI; empty in onreply-route.
func RequestURI() string { return text(requestURI) }

// RequestUser is the user part of the Request-URI with escapes resolved.
func RequestUser() string { return text(requestUser) }

// SetRequestURI changes the Request-URI of the current request.
func SetRequestURI(uri string) error {
	setRequestURI(uri, abi.Out())
	return abi.Failed()
}

// Status is the status of the current response; none when the current message is a request.
func Status() (uint16, bool) { return number(status) }

// FromURI is the URI in From, without the name.
func FromURI() string { return text(fromURI) }

// ToURI is the URI in To, without the name.
func ToURI() string { return text(toURI) }

// CallID is the Call-ID.
func CallID() string { return text(callID) }

// Body is the body's bytes; none without one.
func Body() []byte {
	body(abi.Out())
	return abi.Bytes(abi.Result[0], abi.Result[1])
}

// SetBody replaces body and Content-Type; no bytes with an empty type remove both.
func SetBody(contentType string, body []byte) error {
	setBody(contentType, unsafe.Pointer(unsafe.SliceData(body)), uint32(len(body)), abi.Out())
	return abi.Failed()
}

// Header is the first header field of that name, as it stands.
func Header(name string) (string, bool) {
	header(name, abi.Out())
	return abi.Option()
}

// Headers are all header fields of that name, in order.
func Headers(name string) []string {
	headers(name, abi.Out())
	words := abi.Words(abi.Result[0], abi.Result[1], 2)
	fields := make([]string, len(words)/2)
	for i := range fields {
		fields[i] = abi.Text(words[2*i], words[2*i+1])
	}
	return fields
}

// HeadersNamed are the first header fields of each of these names, in one crossing; nil for one that is missing.
func HeadersNamed(names ...string) []*string {
	list := make([]uint32, 2*len(names))
	for i, name := range names {
		list[2*i], list[2*i+1] = abi.Pointer(name), uint32(len(name))
	}
	headersNamed(unsafe.Pointer(unsafe.SliceData(list)), uint32(len(names)), abi.Out())
	words := abi.Words(abi.Result[0], abi.Result[1], 3)
	fields := make([]*string, len(words)/3)
	for i := range fields {
		if abi.Flag(words[3*i]) {
			value := abi.Text(words[3*i+1], words[3*i+2])
			fields[i] = &value
		}
	}
	return fields
}

// HeadersJoined is the same in one text, which has for each of the names (separated by commas) the length of the value, a colon and
// the value; a lone colon when there is no such header field.
func HeadersJoined(names string) string {
	headersJoined(names, abi.Out())
	return abi.Text(abi.Result[0], abi.Result[1])
}

// HasHeader says whether there is a header field of that name.
func HasHeader(name string) bool { return hasHeader(name) != 0 }

// SetHeader replaces every header field of that name with one, or adds it.
func SetHeader(name, value string) error {
	setHeader(name, value, abi.Out())
	return abi.Failed()
}

// AddHeader adds a header field after the others of that name.
func AddHeader(name, value string) error {
	addHeader(name, value, abi.Out())
	return abi.Failed()
}

// RemoveHeader removes every header field of that name, and says how many there were.
func RemoveHeader(name string) (uint32, error) {
	removeHeader(name, abi.Out())
	if err := abi.Failed(); err != nil {
		return 0, err
	}
	return abi.Result[1], nil
}

// ResponseStatus is, in failure-route, the status of the best response; in onreply-route that of the current one.
func ResponseStatus() (uint16, bool) { return number(responseStatus) }

// ResponseHeader is, in failure-route and onreply-route, the first header field of that name of the response.
func ResponseHeader(name string) (string, bool) {
	responseHeader(name, abi.Out())
	return abi.Option()
}
