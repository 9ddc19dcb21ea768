// Package nethttp lets the client of net/http ask through the router, which has no sockets for it:
//
//	client := http.Client{Transport: nethttp.Transport{Timeout: time.Second}}
//
// The policy's policy.toml has imports = ["http"], and the operator grants the URLs. Each redirection that the client follows is asked for
// by itself, and has to be granted. One request is made after the other. It adds 8 MB to the policy; package http does not.
package nethttp

import (
	"bytes"
	"io"
	"net/http"
	"time"

	router "patchbay/http"
)

// Transport is an http.RoundTripper.
type Transport struct {
	// Timeout is how long to wait for a whole response; 0: as long as policy.hook_timeout allows, which limits it in any case. Those of the
	// client and of a context never end: the clock of a policy does not run.
	Timeout time.Duration
}

// RoundTrip sends a request and waits for the whole response. The hook waits, and nothing else: the router goes on with other calls.
func (transport Transport) RoundTrip(request *http.Request) (*http.Response, error) {
	sent := router.Request{Method: request.Method, URL: request.URL.String()}
	if transport.Timeout > 0 {
		milliseconds := uint32(min((transport.Timeout+time.Millisecond-1)/time.Millisecond, 1<<32-1))
		sent.TimeoutMs = &milliseconds
	}
	for name, values := range request.Header {
		for _, value := range values {
			sent.Headers = append(sent.Headers, router.Header{Name: name, Value: value})
		}
	}
	if request.Body != nil {
		defer request.Body.Close()
		var err error
		if sent.Body, err = io.ReadAll(request.Body); err != nil {
			return nil, err
		}
	}
	response, err := router.Fetch(sent)
	if err != nil {
		return nil, err
	}
	return received(request, response), nil
}

func received(request *http.Request, response router.Response) *http.Response {
	header := http.Header{}
	for _, one := range response.Headers {
		header.Add(one.Name, one.Value)
	}
	return &http.Response{
		Status:        http.StatusText(int(response.Status)),
		StatusCode:    int(response.Status),
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        header,
		Body:          io.NopCloser(bytes.NewReader(response.Body)),
		ContentLength: int64(len(response.Body)),
		Request:       request,
	}
}
