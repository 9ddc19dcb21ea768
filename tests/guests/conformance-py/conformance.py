"""Calls everything that the router provides; what it has to see and to do is in tests/tests/conformance/imports.rs."""

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import event_route, failure_route, request_route
from wit_world.exports.branch_route import BranchVerdict
from wit_world.exports.onreply_route import ReplyVerdict
from wit_world.imports import (
    auth,
    clock,
    counters,
    http,
    keyvalue,
    location,
    log,
    message,
    random,
    reply,
    settings,
    targets,
    timers,
    transaction,
)
from wit_world.imports.http import Request
from wit_world.imports.message import MessageFacts
from wit_world.imports.targets import Target
from wit_world.imports.transaction import Hooks
from wit_world.imports.types import ResponseLine

report = []
in_init = ""
beyond = []

BOB = "sip:bob@example.com"


def word(value):
    if value is None:
        return "-"
    return str(value).lower() if isinstance(value, bool) else str(value)


def say(name, *values):
    report.append(name + ": " + " ".join(map(word, values)))


def named(case):
    return case.name.lower().replace("_", "-")


def attempt(call, *arguments):
    try:
        value = call(*arguments)
        return "ok" if value is None else value
    except Err as error:
        return named(error.value.kind)


def read_message():
    s = message.summary()
    say("summary", s.method, s.request_uri, s.from_uri, s.to_uri, s.call_id, s.source, s.in_dialog)
    facts = message.facts()
    wanted = [MessageFacts.INVITE, MessageFacts.ACK, MessageFacts.UPDATE, MessageFacts.IN_DIALOG]
    say("facts", *[fact in facts for fact in wanted])
    uris = [message.request_uri(), message.request_user(), message.from_uri(), message.to_uri()]
    say("message", message.method(), *uris, message.call_id())
    say("status", message.status(), message.response_status(), message.response_header("Server"))
    say("body", message.body().decode())
    values = [message.header("Subject"), message.header("X-None")]
    say("header", *values, message.has_header("Subject"), message.has_header("X-None"))
    say("headers", *message.headers("X-Many"), len(message.headers("X-None")))
    say("named", *message.headers_named(["Subject", "X-None", "X-Many"]))
    say("joined", message.headers_joined("Subject,X-None"))


def edit_message():
    say("set", attempt(message.set_header, "X-New", "1"), attempt(message.set_header, "Via", "x"))
    say("add", attempt(message.add_header, "X-Many", "three"), attempt(message.add_header, "X Bad", ""))
    say("remove", attempt(message.remove_header, "X-Many"), attempt(message.remove_header, "From"))
    change = message.set_request_uri
    say("uri", attempt(change, "sip:carol@example.com"), attempt(change, "nothing"))
    say("set body", attempt(message.set_body, "text/plain", b"new"), attempt(message.set_body, "nothing", b"x"))


def use_transaction():
    s = transaction.source()
    say("source", named(s.transport), s.address, s.port, s.local, transaction.source_address())
    say("networks", transaction.source_in("192.0.2.0/24"), transaction.source_in("10.0.0.0/8"))
    local = [transaction.is_local_uri("sip:x@example.com"), transaction.is_local_uri("sip:x@example.org")]
    say("transaction", transaction.in_dialog(), *local, transaction.failure_round())
    before = transaction.variable("class")
    say("variable", before, attempt(transaction.set_variable, "class", "größer"), transaction.variable("class"))
    transaction.arm(Hooks.BRANCH_ROUTE | Hooks.FAILURE_ROUTE)
    transaction.set_record_route(False)
    added = attempt(transaction.add_record_route_parameter, "tenant", "red")
    known = transaction.record_route_parameter("tenant")
    say("parameter", added, known, transaction.record_route_parameter("none"))


def use_targets():
    added = [attempt(targets.add_uri, "sip:a@192.0.2.5"), attempt(targets.add_uri, "nothing")]
    say("targets", *added, targets.count())
    full = Target("sip:b@192.0.2.6", 700, "sip:192.0.2.7", "udp:192.0.2.8:5060", 1500)
    bare = Target("sip:c@192.0.2.6", 0, None, None, None)
    say("target", attempt(targets.add, full), attempt(targets.add, bare))
    targets.next_group()
    targets.set_no_answer_timeout(9000)
    say("lookup", attempt(targets.add_lookup, 7), targets.count())
    targets.clear()
    say("reply", attempt(reply.add_header, "X-Reply", "yes"), attempt(reply.add_header, "Via", "x"))


def use_location():
    found = location.lookup(BOB)
    own = location.lookup_request_uri()
    say("found", found.lookup, found.count, own.lookup, own.count)
    for index in range(3):
        b = location.binding_at(7, index)
        values = ["none"] if b is None else [b.uri, b.q, b.expires_secs, b.received, b.user_agent, b.instance]
        say("binding", *values)
    say("registered", location.is_registered_source("sip:alice@example.com"), location.is_registered_source(BOB))
    saved = attempt(location.save_contact, BOB, "sip:bob@192.0.2.3", 60)
    say("contacts", saved, attempt(location.remove_contact, BOB, ""))


def use_services():
    say("auth", named(auth.verify()), auth.verified_user(), auth.required(), auth.realm())
    pairs = [name + "=" + value for name, value in settings.all()]
    say("settings", settings.get("colour"), settings.get("none"), *pairs)
    say("log", log.enabled(log.Level.TRACE), log.enabled(log.Level.WARN))
    log.log(log.Level.WARN, "a line")
    say("clock", clock.unix_ms(), clock.monotonic_us(), random.u64())
    say("counters", attempt(counters.add, "calls", 5), attempt(counters.add, "no name", 1), in_init)
    was_set = [attempt(timers.set, "known", 250), attempt(timers.set, "no name", 1)]
    say("timers", *was_set, timers.cancel("known"), timers.cancel("unknown"))


def get(key):
    try:
        value = keyvalue.get(key)
        return None if value is None else value.decode()
    except Err as error:
        return named(error.value.kind)


def ask(url):
    return http.fetch(Request("GET", url, [], b"", None))


def lengths(url):
    response = ask(url)
    return f"{response.status} {len(response.headers)} {len(response.body)}"


def use_http():
    headers = [("X-A", "1"), ("X-B", "größer")]
    response = http.fetch(Request("POST", "http://lcr.example/route", headers, b"hello", 250))
    pairs = [name + "=" + value for name, value in response.headers]
    say("http", response.status, ",".join(pairs), response.body.decode())
    for url in ["http://empty.example/", "http://none.example/", "http://other.example/"]:
        say("http", attempt(lengths, url))


def use_keyvalue():
    say("keyvalue", get("calls/a"), attempt(keyvalue.exists, "calls/a"))
    was_set = [attempt(keyvalue.set, "calls/a", "größer".encode()), attempt(keyvalue.set_with_ttl, "calls/b", b"", 60)]
    was_set.append(attempt(keyvalue.set_with_ttl, "calls/b", b"b", 0))
    say("set", *was_set, get("calls/a"), get("calls/b"), keyvalue.exists("calls/b"))
    added = [attempt(keyvalue.increment, "calls/n", 2**40), attempt(keyvalue.increment_with_ttl, "calls/n", -(2**40) - 7, 60)]
    say("increment", *added, attempt(keyvalue.increment, "calls/a", 1))
    listed = [",".join(keyvalue.list_keys("calls/", after)) for after in ["", "calls/a"]]
    say("keys", *listed, len(keyvalue.list_keys("calls/x", "")))
    say("delete", attempt(keyvalue.delete, "calls/b"), attempt(keyvalue.exists, "calls/b"), get("other"))
    say("beyond", *beyond)


class Init(exports.Init):
    def init(self):
        global in_init, beyond
        refuse = settings.get("refuse")
        if refuse is not None:
            raise Err(refuse)
        in_init = attempt(counters.add, "calls", 1)
        beyond = [attempt(lengths, "http://lcr.example/route"), get("calls/a")]


VERDICTS = {
    "relay": request_route.RequestVerdict_Relay,
    "challenge": request_route.RequestVerdict_Challenge,
    "save": request_route.RequestVerdict_Save,
    "drop": request_route.RequestVerdict_Drop,
    "next": request_route.RequestVerdict_Next,
}


class RequestRoute(exports.RequestRoute):
    def request_route(self):
        wanted = message.header("X-Verdict")
        if wanted == "reply":
            return request_route.RequestVerdict_Reply(ResponseLine(486, "Später"))
        if wanted is not None:
            return VERDICTS[wanted]()
        report.clear()
        for part in [read_message, edit_message, use_transaction, use_targets, use_location, use_services]:
            part()
        use_http()
        use_keyvalue()
        reply.set_body("text/plain", "\n".join(report).encode())
        return request_route.RequestVerdict_Reply(ResponseLine(299, ""))


class BranchRoute(exports.BranchRoute):
    def branch_route(self):
        if message.has_header("X-Verdict"):
            return BranchVerdict.DROP
        message.set_request_uri("sip:branch@192.0.2.5")
        return BranchVerdict.PASS


class OnreplyRoute(exports.OnreplyRoute):
    def onreply_route(self):
        if message.has_header("X-Verdict"):
            return ReplyVerdict.DROP
        values = [message.status(), message.response_status(), message.response_header("Server")]
        message.set_header("X-Status", " ".join(map(word, values)))
        return ReplyVerdict.PASS


class FailureRoute(exports.FailureRoute):
    def failure_route(self):
        wanted = message.response_header("X-Verdict")
        if wanted == "relay":
            targets.add_uri("sip:again@192.0.2.5")
            return failure_route.FailureVerdict_Relay()
        if wanted == "reply":
            return failure_route.FailureVerdict_Reply(ResponseLine(message.response_status() + 1, "Later"))
        return failure_route.FailureVerdict_Pass()


CHANGES = {
    event_route.Event_RegistrationAdded: "registration-added",
    event_route.Event_RegistrationRefreshed: "registration-refreshed",
    event_route.Event_RegistrationRemoved: "registration-removed",
    event_route.Event_RegistrationExpired: "registration-expired",
}


class EventRoute(exports.EventRoute):
    def event_route(self, event):
        if isinstance(event, event_route.Event_Timer):
            counters.add("timer_" + event.value, 1)
        else:
            change = event.value
            counters.add(CHANGES[type(event)] + "_" + change.aor + "_" + change.contact, change.expires_secs)
