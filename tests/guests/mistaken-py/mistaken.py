"""Hands over what the router does not take, as the user part of the Request-URI says; what an error says is the reason phrase."""

from wit_world.exports.request_route import RequestVerdict_Relay, RequestVerdict_Reply
from wit_world.imports import counters, log, message, reply, settings, targets, transaction
from wit_world.imports.keyvalue import increment
from wit_world.imports.targets import Target
from wit_world.imports.types import ResponseLine

CALLS = {
    "text": lambda: message.header(5),
    "half": lambda: message.set_header("X-A", "\ud83d"),
    "list": lambda: message.headers_named(["a", None]),
    "named": lambda: message.header(name=5),
    "part": lambda: targets.add(Target("sip:a@192.0.2.1", None, None, None, None)),
    "range": lambda: targets.set_no_answer_timeout(-1),
    "case": lambda: log.log("info", "x"),
    "flag": lambda: transaction.arm("failure-route"),
    "truth": lambda: transaction.set_record_route(None),
    "bytes": lambda: reply.set_body("text/plain", "text"),
    "long": lambda: counters.add("calls", 5),
    "signed": lambda: increment("calls/n", -5),
    "beyond": lambda: counters.add("calls", 2**64),
}

VERDICTS = {
    "nothing": None,
    "class": RequestVerdict_Relay,
    "half": RequestVerdict_Reply(ResponseLine(486, None)),
}


def fail():
    raise ValueError("nobody catches this")


class Init:
    def init(self):
        if settings.get("fail") is not None:
            counters.add("calls", 1)


class RequestRoute:
    def request_route(self):
        way, _, name = message.request_user().partition("-")
        if way == "raise":
            fail()
        if way == "verdict":
            return VERDICTS[name]
        try:
            CALLS[name]()
        except TypeError as error:
            return RequestVerdict_Reply(ResponseLine(486, str(error)))
        return RequestVerdict_Relay()


class BranchRoute:
    def branch_route(self):
        return "pass"
