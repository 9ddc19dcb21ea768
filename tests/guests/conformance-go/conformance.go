// Calls everything that the router provides; what it has to see and to do is in tests/tests/conformance/imports.rs.
package main

import (
	"errors"
	"fmt"
	"strings"

	"patchbay"
	"patchbay/auth"
	"patchbay/branchroute"
	"patchbay/clock"
	"patchbay/counters"
	"patchbay/eventroute"
	"patchbay/failureroute"
	"patchbay/http"
	"patchbay/instance"
	"patchbay/keyvalue"
	"patchbay/location"
	"patchbay/log"
	"patchbay/message"
	"patchbay/onreplyroute"
	"patchbay/random"
	"patchbay/reply"
	"patchbay/requestroute"
	"patchbay/settings"
	"patchbay/targets"
	"patchbay/timers"
	"patchbay/transaction"
)

const bob = "sip:bob@example.com"

var (
	report []string
	inInit any
	beyond []any
)

func init() {
	instance.Init = start
	requestroute.Hook = route
	branchroute.Hook = branch
	onreplyroute.Hook = onreply
	failureroute.Hook = failure
	eventroute.Hook = event
}

func main() {}

func say(name string, values ...any) {
	words := make([]string, len(values))
	for i, value := range values {
		words[i] = fmt.Sprint(value)
	}
	report = append(report, name+": "+strings.Join(words, " "))
}

// option is a value that may be missing.
func option[T any](value T, isSome bool) any {
	if isSome {
		return value
	}
	return "-"
}

func pointer[T any](value *T) any {
	if value == nil {
		return "-"
	}
	return *value
}

var kinds = []string{"not-found", "invalid-argument", "wrong-hook", "denied", "limit", "unavailable"}

func attempt(err error) any {
	if kind, failed := patchbay.KindOf(err); failed {
		return kinds[kind]
	}
	return "ok"
}

func attemptValue[T any](value T, err error) any {
	if err != nil {
		return attempt(err)
	}
	return value
}

func readMessage() {
	s := message.All()
	say("summary", s.Method, s.RequestURI, s.FromURI, s.ToURI, s.CallID, s.Source, s.InDialog)
	facts := message.TheFacts()
	say("facts", facts.Has(message.Invite), facts.Has(message.Ack), facts.Has(message.Update), facts.Has(message.InDialog))
	say("message", message.Method(), message.RequestURI(), message.RequestUser(), message.FromURI(), message.ToURI(), message.CallID())
	say("status", option(message.Status()), option(message.ResponseStatus()), option(message.ResponseHeader("Server")))
	say("body", string(message.Body()))
	say("header", option(message.Header("Subject")), option(message.Header("X-None")), message.HasHeader("Subject"), message.HasHeader("X-None"))
	say("headers", strings.Join(message.Headers("X-Many"), " "), len(message.Headers("X-None")))
	named := message.HeadersNamed("Subject", "X-None", "X-Many")
	say("named", pointer(named[0]), pointer(named[1]), pointer(named[2]))
	say("joined", message.HeadersJoined("Subject,X-None"))
}

func editMessage() {
	say("set", attempt(message.SetHeader("X-New", "1")), attempt(message.SetHeader("Via", "x")))
	say("add", attempt(message.AddHeader("X-Many", "three")), attempt(message.AddHeader("X Bad", "")))
	say("remove", attemptValue(message.RemoveHeader("X-Many")), attemptValue(message.RemoveHeader("From")))
	say("uri", attempt(message.SetRequestURI("sip:carol@example.com")), attempt(message.SetRequestURI("nothing")))
	say("set body", attempt(message.SetBody("text/plain", []byte("new"))), attempt(message.SetBody("nothing", []byte("x"))))
}

func useTransaction() {
	s := transaction.Source()
	transports := []string{"udp", "tcp", "tls", "ws", "wss"}
	say("source", transports[s.Transport], s.Address, s.Port, s.Local, transaction.SourceAddress())
	say("networks", transaction.SourceIn("192.0.2.0/24"), transaction.SourceIn("10.0.0.0/8"))
	say("transaction", transaction.InDialog(), transaction.IsLocalURI("sip:x@example.com"), transaction.IsLocalURI("sip:x@example.org"),
		transaction.FailureRound())
	before := option(transaction.Variable("class"))
	set := attempt(transaction.SetVariable("class", "größer"))
	say("variable", before, set, option(transaction.Variable("class")))
	transaction.Arm(transaction.BranchRoute | transaction.FailureRoute)
	transaction.SetRecordRoute(false)
	added := attempt(transaction.AddRecordRouteParameter("tenant", "red"))
	say("parameter", added, option(transaction.RecordRouteParameter("tenant")), option(transaction.RecordRouteParameter("none")))
}

func useTargets() {
	added, refused := attempt(targets.AddURI("sip:a@192.0.2.5")), attempt(targets.AddURI("nothing"))
	say("targets", added, refused, targets.Count())
	hop, listener, ms := "sip:192.0.2.7", "udp:192.0.2.8:5060", uint32(1500)
	full := targets.Target{URI: "sip:b@192.0.2.6", Q: 700, NextHop: &hop, Listener: &listener, NoAnswerMs: &ms}
	say("target", attempt(targets.Add(full)), attempt(targets.Add(targets.Target{URI: "sip:c@192.0.2.6"})))
	targets.NextGroup()
	targets.SetNoAnswerTimeout(9000)
	looked := attemptValue(targets.AddLookup(7))
	say("lookup", looked, targets.Count())
	targets.Clear()
	say("reply", attempt(reply.AddHeader("X-Reply", "yes")), attempt(reply.AddHeader("Via", "x")))
}

func useLocation() {
	found, _ := location.Lookup(bob)
	own, _ := location.LookupRequestURI()
	say("found", found.Lookup, found.Count, own.Lookup, own.Count)
	for index := range uint32(3) {
		if b := location.BindingAt(7, index); b != nil {
			say("binding", b.URI, b.Q, b.ExpiresSecs, b.Received, b.UserAgent, pointer(b.Instance))
		} else {
			say("binding", "none")
		}
	}
	say("registered", location.IsRegisteredSource("sip:alice@example.com"), location.IsRegisteredSource(bob))
	saved := attempt(location.SaveContact(bob, "sip:bob@192.0.2.3", 60))
	say("contacts", saved, attemptValue(location.RemoveContact(bob, "")))
}

func useServices() {
	verifications := []string{"verified", "missing", "stale", "failed"}
	say("auth", verifications[auth.Verify()], option(auth.VerifiedUser()), auth.Required(), auth.Realm())
	var pairs []string
	for _, setting := range settings.All() {
		pairs = append(pairs, setting.Name+"="+setting.Value)
	}
	say("settings", option(settings.Get("colour")), option(settings.Get("none")), strings.Join(pairs, " "))
	say("log", log.Enabled(log.Trace), log.Enabled(log.Warn))
	log.Log(log.Warn, "a line")
	say("clock", clock.UnixMs(), clock.MonotonicUs(), random.Uint64())
	say("counters", attempt(counters.Add("calls", 5)), attempt(counters.Add("no name", 1)), inInit)
	set, refused := attempt(timers.Set("known", 250)), attempt(timers.Set("no name", 1))
	say("timers", set, refused, timers.Cancel("known"), timers.Cancel("unknown"))
}

func stored(value []byte, isSome bool, err error) any {
	if err != nil {
		return attempt(err)
	}
	return option(string(value), isSome)
}

func useHTTP() {
	ms := uint32(250)
	request := http.Request{Method: "POST", URL: "http://lcr.example/route", Headers: []http.Header{{"X-A", "1"}, {"X-B", "größer"}}, Body: []byte("hello"), TimeoutMs: &ms}
	response, err := http.Fetch(request)
	if err != nil {
		panic(err)
	}
	var headers []string
	for _, header := range response.Headers {
		headers = append(headers, header.Name+"="+header.Value)
	}
	say("http", response.Status, strings.Join(headers, ","), string(response.Body))
	for _, url := range []string{"http://empty.example/", "http://none.example/", "http://other.example/"} {
		response, err := http.Get(url)
		if err == nil {
			say("http", response.Status, len(response.Headers), len(response.Body))
		} else {
			say("http", attempt(err))
		}
	}
}

func useKeyvalue() {
	say("keyvalue", stored(keyvalue.Get("calls/a")), attemptValue(keyvalue.Exists("calls/a")))
	set := []any{attempt(keyvalue.Set("calls/a", []byte("größer"))), attempt(keyvalue.SetWithTTL("calls/b", nil, 60)), attempt(keyvalue.SetWithTTL("calls/b", []byte("b"), 0))}
	say("set", append(set, stored(keyvalue.Get("calls/a")), stored(keyvalue.Get("calls/b")), attemptValue(keyvalue.Exists("calls/b")))...)
	say("increment", attemptValue(keyvalue.Increment("calls/n", 1<<40)), attemptValue(keyvalue.IncrementWithTTL("calls/n", -(1<<40)-7, 60)), attemptValue(keyvalue.Increment("calls/a", 1)))
	all, err := keyvalue.ListKeys("calls/", "")
	behind, errBehind := keyvalue.ListKeys("calls/", "calls/a")
	none, errNone := keyvalue.ListKeys("calls/x", "")
	if err != nil || errBehind != nil || errNone != nil {
		panic("keys")
	}
	say("keys", strings.Join(all, ","), strings.Join(behind, ","), len(none))
	say("delete", attempt(keyvalue.Delete("calls/b")), attemptValue(keyvalue.Exists("calls/b")), stored(keyvalue.Get("other")))
	say("beyond", beyond...)
}

func start() error {
	if refuse, isSet := settings.Get("refuse"); isSet {
		return errors.New(refuse)
	}
	inInit = attempt(counters.Add("calls", 1))
	_, err := http.Get("http://lcr.example/route")
	beyond = []any{attempt(err), stored(keyvalue.Get("calls/a"))}
	return nil
}

var verdicts = map[string]requestroute.Verdict{
	"relay":     requestroute.Relay,
	"reply":     requestroute.Reply(486, "Später"),
	"challenge": requestroute.Challenge,
	"save":      requestroute.Save,
	"drop":      requestroute.Drop,
	"next":      requestroute.Next,
}

func route() requestroute.Verdict {
	if wanted, isSet := message.Header("X-Verdict"); isSet {
		return verdicts[wanted]
	}
	report = nil
	readMessage()
	editMessage()
	useTransaction()
	useTargets()
	useLocation()
	useServices()
	useHTTP()
	useKeyvalue()
	if err := reply.SetBody("text/plain", []byte(strings.Join(report, "\n"))); err != nil {
		panic(err)
	}
	return requestroute.Reply(299, "")
}

func branch() branchroute.Verdict {
	if message.HasHeader("X-Verdict") || message.SetRequestURI("sip:branch@192.0.2.5") != nil {
		return branchroute.Drop
	}
	return branchroute.Pass
}

func onreply() onreplyroute.Verdict {
	status := fmt.Sprint(option(message.Status()), " ", option(message.ResponseStatus()), " ", option(message.ResponseHeader("Server")))
	if message.HasHeader("X-Verdict") || message.SetHeader("X-Status", status) != nil {
		return onreplyroute.Drop
	}
	return onreplyroute.Pass
}

func failure() failureroute.Verdict {
	status, _ := message.ResponseStatus()
	switch wanted, _ := message.ResponseHeader("X-Verdict"); wanted {
	case "relay":
		if targets.AddURI("sip:again@192.0.2.5") == nil {
			return failureroute.Relay
		}
	case "reply":
		return failureroute.Reply(status+1, "Later")
	}
	return failureroute.Pass
}

func event(event eventroute.Event) {
	changes := []string{"registration-added", "registration-refreshed", "registration-removed", "registration-expired"}
	name, value := "timer_"+event.Name, uint64(1)
	if event.Kind != eventroute.Timer {
		name, value = changes[event.Kind]+"_"+event.AOR+"_"+event.Contact, uint64(event.ExpiresSecs)
	}
	if err := counters.Add(name, value); err != nil {
		panic(err)
	}
}
