// Panics in two ways, so that the log tells where.
package main

import (
	"patchbay/message"
	"patchbay/requestroute"
)

func init() { requestroute.Hook = route }

func main() {}

func route() requestroute.Verdict {
	if message.RequestUser() == "raise" {
		fail()
	}
	return requestroute.Reply(uint16(len(*second(message.HeadersNamed("X-None")))), "")
}

//go:noinline
func fail() { panic("nobody catches this") }

//go:noinline
func second(values []*string) *string { return values[1] }
