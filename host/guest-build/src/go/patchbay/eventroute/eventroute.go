// Package eventroute is the hook event-route: it runs for what happens outside of transactions.
package eventroute

import "patchbay/internal/abi"

// Kind is what has happened.
type Kind uint32

const (
	RegistrationAdded Kind = iota
	RegistrationRefreshed
	RegistrationRemoved
	RegistrationExpired
	// Timer: one set with timers.Set, by its name.
	Timer
)

// Event is something that happened; a timer has only a name, a registration all the rest.
type Event struct {
	Kind         Kind
	Name         string
	AOR, Contact string
	// Seconds left; 0 when it is gone.
	ExpiresSecs uint32
}

// Hook is what runs.
var Hook = func(Event) {}

//go:wasmexport patchbay:policy/event-route@0.1.0#event-route
func run(kind, text, textLen, contact, contactLen, expiresSecs uint32) {
	defer abi.Guard()
	event := Event{Kind: Kind(kind)}
	if event.Kind == Timer {
		event.Name = abi.Text(text, textLen)
	} else {
		event.AOR, event.Contact, event.ExpiresSecs = abi.Text(text, textLen), abi.Text(contact, contactLen), expiresSecs
	}
	Hook(event)
}
