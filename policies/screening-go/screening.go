// Screening of unwanted calls, and voicemail when the callee is busy: see README.md.
//
// Each interface of the WIT package has a package below `patchbay`, and each hook one with a variable `Hook`.
package main

import (
	"errors"
	"strings"

	"patchbay"
	"patchbay/auth"
	"patchbay/failureroute"
	"patchbay/instance"
	"patchbay/location"
	"patchbay/log"
	"patchbay/message"
	"patchbay/onreplyroute"
	"patchbay/requestroute"
	"patchbay/settings"
	"patchbay/targets"
	"patchbay/transaction"
)

// The setting, read once per instance.
var blocked []string

func init() {
	instance.Init = readSettings
	requestroute.Hook = route
	onreplyroute.Hook = markResponse
	failureroute.Hook = goToVoicemail
}

func main() {}

func readSettings() error {
	words, _ := settings.Get("blocked")
	blocked = strings.Fields(words)
	voicemail, isSet := settings.Get("voicemail")
	if isSet && !strings.HasPrefix(voicemail, "sip:") && !strings.HasPrefix(voicemail, "sips:") {
		return errors.New("voicemail is no SIP URI")
	}
	return nil
}

func reply(status uint16) requestroute.Verdict { return requestroute.Reply(status, "") }

func route() requestroute.Verdict {
	facts := message.TheFacts()
	if facts.Has(message.InDialog) {
		return requestroute.Relay
	}
	agent, _ := message.Header("User-Agent")
	switch {
	case facts.Has(message.Ack) || strings.Contains(agent, "friendly-scanner"):
		return requestroute.Drop
	case isBlocked(message.FromURI()):
		return reply(603)
	case facts.Has(message.Register):
		return routeRegister()
	case message.RequestUser() != "":
		return routeToUser()
	case facts.Has(message.Options):
		return reply(200)
	}
	return reply(405)
}

func isBlocked(caller string) bool {
	for _, word := range blocked {
		if strings.Contains(caller, word) {
			return true
		}
	}
	return false
}

func routeRegister() requestroute.Verdict {
	if auth.Required() && auth.Verify() != auth.Verified {
		return requestroute.Challenge
	}
	return requestroute.Save
}

// To every contact of the user in the Request-URI.
func routeToUser() requestroute.Verdict {
	found, err := location.LookupRequestURI()
	if kind, failed := patchbay.KindOf(err); failed && kind == patchbay.NotFound {
		return reply(404)
	}
	if err == nil && found.Count == 0 {
		return reply(480)
	}
	if err == nil {
		_, err = targets.AddLookup(found.Lookup)
	}
	if err != nil {
		return reply(500)
	}
	transaction.Arm(transaction.OnreplyRoute | transaction.FailureRoute)
	return requestroute.Relay
}

func markResponse() onreplyroute.Verdict {
	// What the operator does not grant is left out.
	if _, err := message.RemoveHeader("Server"); err != nil {
		log.Log(log.Debug, err.Error())
	}
	if err := message.SetHeader("X-Screened", "yes"); err != nil {
		log.Log(log.Debug, err.Error())
	}
	return onreplyroute.Pass
}

func goToVoicemail() failureroute.Verdict {
	voicemail, isSet := settings.Get("voicemail")
	if status, _ := message.ResponseStatus(); status != 486 || !isSet || targets.AddURI(voicemail) != nil {
		return failureroute.Pass
	}
	transaction.Arm(transaction.OnreplyRoute)
	return failureroute.Relay
}
