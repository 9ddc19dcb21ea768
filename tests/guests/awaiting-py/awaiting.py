"""Asks over HTTP with asyncio and the module `poll_loop` of componentize-py, as the user part of the Request-URI says; the answer is in the reason phrase."""

import asyncio

import poll_loop
from componentize_py_types import Err
from poll_loop import PollLoop, Sink, Stream
from wit_world.exports.request_route import RequestVerdict_Reply
from wit_world.imports import message, settings
from wit_world.imports.policy_types import ResponseLine
from wit_world.imports.types import Fields, Method_Post, OutgoingRequest, Scheme_Http


async def ask(url: str, body: str) -> str:
    authority, _, path = url.removeprefix("http://").partition("/")
    request = OutgoingRequest(Fields.from_list([("x-a", b"1")]))
    request.set_method(Method_Post())
    request.set_scheme(Scheme_Http())
    request.set_authority(authority)
    request.set_path_with_query("/" + path)
    sink = Sink(request.body())
    asked = asyncio.ensure_future(poll_loop.send(request))
    await sink.send(body.encode())
    sink.close()
    response = await asked
    stream = Stream(response.consume())
    text = b""
    while (chunk := await stream.next()) is not None:
        text += chunk
    return f"{response.status()} {text.decode()}"


async def several(url: str) -> str:
    return " and ".join(await asyncio.gather(ask(url, "one"), ask(url, "two")))


async def uncaught() -> str:
    raise ValueError("nobody catches this")


class RequestRoute:
    def request_route(self):
        url = settings.get("url") or ""
        ways = {
            "ask": lambda: ask(url, "grüße"),
            "several": lambda: several(url),
            "uncaught": uncaught,
            "forbidden": lambda: ask("http://127.0.0.1:1/", ""),
        }
        loop = PollLoop()
        asyncio.set_event_loop(loop)
        try:
            told = loop.run_until_complete(ways[message.request_user()]())
        except Err as error:
            told = type(error.value).__name__
        return RequestVerdict_Reply(ResponseLine(486, told))
