"""Screening of unwanted calls, and voicemail when the callee is busy: see README.md.

An interface of the WIT package is a module of `wit_world.imports`, a hook a class with the name of its interface. What fails
raises `Err` around the WIT error, which has `kind` and `message`.
"""

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import failure_route, request_route
from wit_world.exports.onreply_route import ReplyVerdict
from wit_world.imports import auth, location, log, message, settings, targets, transaction
from wit_world.imports.message import MessageFacts
from wit_world.imports.transaction import Hooks
from wit_world.imports.types import ErrorKind, ResponseLine

# The setting, read once per instance.
blocked = []


def reply(status):
    return request_route.RequestVerdict_Reply(ResponseLine(status, ""))


def route_register():
    if auth.required() and auth.verify() != auth.Verification.VERIFIED:
        return request_route.RequestVerdict_Challenge()
    return request_route.RequestVerdict_Save()


def edit(change, *arguments):
    """What the operator does not grant is left out."""
    try:
        change(*arguments)
    except Err as refused:
        log.log(log.Level.DEBUG, refused.value.message)


def route_to_user():
    """To every contact of the user in the Request-URI."""
    try:
        found = location.lookup_request_uri()
        if found.count == 0:
            return reply(480)
        targets.add_lookup(found.lookup)
    except Err as error:
        return reply(404 if error.value.kind == ErrorKind.NOT_FOUND else 500)
    transaction.arm(Hooks.ONREPLY_ROUTE | Hooks.FAILURE_ROUTE)
    return request_route.RequestVerdict_Relay()


class Init(exports.Init):
    def init(self):
        global blocked
        blocked = (settings.get("blocked") or "").split()
        voicemail = settings.get("voicemail")
        if voicemail is not None and not voicemail.startswith(("sip:", "sips:")):
            raise Err("voicemail is no SIP URI")


class RequestRoute(exports.RequestRoute):
    def request_route(self):
        facts = message.facts()
        if MessageFacts.IN_DIALOG in facts:
            return request_route.RequestVerdict_Relay()
        agent = message.header("User-Agent") or ""
        if MessageFacts.ACK in facts or "friendly-scanner" in agent:
            return request_route.RequestVerdict_Drop()
        caller = message.from_uri()
        if any(word in caller for word in blocked):
            return reply(603)
        if MessageFacts.REGISTER in facts:
            return route_register()
        if message.request_user() == "":
            return reply(200 if MessageFacts.OPTIONS in facts else 405)
        return route_to_user()


class OnreplyRoute(exports.OnreplyRoute):
    def onreply_route(self):
        edit(message.remove_header, "Server")
        edit(message.set_header, "X-Screened", "yes")
        return ReplyVerdict.PASS


class FailureRoute(exports.FailureRoute):
    def failure_route(self):
        voicemail = settings.get("voicemail")
        if message.response_status() != 486 or voicemail is None:
            return failure_route.FailureVerdict_Pass()
        try:
            targets.add_uri(voicemail)
        except Err:
            return failure_route.FailureVerdict_Pass()
        transaction.arm(Hooks.ONREPLY_ROUTE)
        return failure_route.FailureVerdict_Relay()
