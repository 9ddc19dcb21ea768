// Package http has requests over HTTP, to the URLs that the operator has granted. The policy's policy.toml has
// imports = ["http"].
package http

import (
	"unsafe"

	"patchbay/internal/abi"
)

// Header is a name with its value.
type Header struct{ Name, Value string }

// Request is what to send.
type Request struct {
	// Empty: GET.
	Method string
	// http: or https:, absolute, without a user and without a fragment.
	URL string
	// At most 64. The router writes Host, Content-Length and what concerns the connection.
	Headers []Header
	// At most 1 MiB.
	Body []byte
	// How long to wait for the whole response; nil: as long as policy.hook_timeout allows, which limits it in any case.
	TimeoutMs *uint32
}

// Response is what came, whatever its status. Redirections are not followed.
type Response struct {
	Status uint16
	// Names are lower case.
	Headers []Header
	Body    []byte
}

//go:wasmimport patchbay:policy/http@0.1.0 fetch
func fetch(method, url string, headers unsafe.Pointer, headerCount uint32, body unsafe.Pointer, length, hasTimeout, timeoutMs uint32, out unsafe.Pointer)

// Fetch sends a request and waits for the whole response. The hook waits, and nothing else: the router goes on with other calls.
func Fetch(request Request) (Response, error) {
	if request.Method == "" {
		request.Method = "GET"
	}
	list := make([]uint32, 0, 4*len(request.Headers))
	for _, header := range request.Headers {
		list = append(list, abi.Pointer(header.Name), uint32(len(header.Name)), abi.Pointer(header.Value), uint32(len(header.Value)))
	}
	var hasTimeout, timeoutMs uint32
	if request.TimeoutMs != nil {
		hasTimeout, timeoutMs = 1, *request.TimeoutMs
	}
	fetch(request.Method, request.URL, unsafe.Pointer(unsafe.SliceData(list)), uint32(len(request.Headers)),
		unsafe.Pointer(unsafe.SliceData(request.Body)), uint32(len(request.Body)), hasTimeout, timeoutMs, abi.Out())
	if err := abi.Failed(); err != nil {
		return Response{}, err
	}
	r := abi.Result
	words := abi.Words(r[2], r[3], 4)
	response := Response{uint16(r[1]), make([]Header, len(words)/4), abi.Bytes(r[4], r[5])}
	for i := range response.Headers {
		response.Headers[i] = Header{abi.Text(words[4*i], words[4*i+1]), abi.Text(words[4*i+2], words[4*i+3])}
	}
	return response, nil
}

// Get asks for what is at this URL.
func Get(url string) (Response, error) { return Fetch(Request{URL: url}) }

// Header is the first header of this name, in lower case; empty when there is none.
func (r *Response) Header(name string) string {
	for _, header := range r.Headers {
		if header.Name == name {
			return header.Value
		}
	}
	return ""
}
