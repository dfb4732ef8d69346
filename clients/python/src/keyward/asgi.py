"""Middleware for ASGI: FastAPI, Starlette, Django, Litestar, Quart.

`app.add_middleware(KeywardMiddleware, url="http://127.0.0.1:8080")`, or `app = KeywardMiddleware(app, …)`. A handler
says what it used by the response header `X-Tokens-Used`, which is taken out again, or by `scope["keyward"].used(212)`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, MutableMapping
from typing import TYPE_CHECKING, Any, Callable

from ._client import AsyncKeyward
from ._guard import USED, Guard, Options, Request, left_unused, refusal_parts, tokens_in, unreadable
from ._hold import FAILED, LEFT, Hold, nothing
from ._request import may_be_json
from ._types import Asked, Decision

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["KeywardMiddleware"]

log = logging.getLogger("keyward")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class KeywardMiddleware:
    """Asks Keyward before each request that shows a key, and reports it when it has ended, however it ends."""

    def __init__(
        self,
        app: App,
        url: str = "http://127.0.0.1:8080",
        token: str | None = None,
        *,
        timeout: float = 0.2,
        client: AsyncKeyward | None = None,
        **options: Unpack[Options],
    ) -> None:
        """`client` is one that exists already; else one is made for `url`, `token` and `timeout` (seconds)."""
        self.app = app
        self.guard = Guard.of(options)
        self.client = client or AsyncKeyward(url, token, timeout=timeout)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the life of the application."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, self._flushing(send))
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        body = _Body(receive, self.guard.most_body)
        hold = await self._hold(scope, body)
        if isinstance(hold, Decision):
            return await _refuse(send, hold)
        scope["keyward"] = hold
        await _Call(hold, body, send).run(self.app, scope)

    async def _hold(self, scope: Scope, body: _Body) -> Hold | Decision:
        path = str(scope.get("path", "/"))
        if self.guard.excludes(path):
            return nothing()
        fail_open = self.guard.fails_open(path)
        try:
            headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
            key = self.guard.key(headers, bytes(scope.get("query_string") or b"").decode("latin-1"))
            if key is None:
                return nothing()
            if isinstance(key, Decision):
                return key
            asked = await self._question(key, path, headers, scope, body)
            decision = await self.client.decide(asked, True, True, fail_open)
        except Exception:
            return unreadable()
        return Hold(self.client.core, asked, decision) if decision.allowed else decision

    async def _question(self, key: str, path: str, headers: list[tuple[str, str]], scope: Scope, body: _Body) -> Asked:
        read = await body.read() if self.guard.reads_bodies else None
        forwarded = [value for name, value in headers if name == self.guard.clients.header]
        source_ip = self.guard.clients.of((scope.get("client") or [None])[0], forwarded)
        return self.guard.question(key, source_ip, Request(str(scope["method"]), path, headers, read))

    def _flushing(self, send: Send) -> Send:
        async def flushed(message: Message) -> None:
            if message["type"] == "lifespan.shutdown.complete":
                await self.client.flush(2.0)
            await send(message)

        return flushed


class _Body:
    """The body of a request, read ahead as far as it is needed, and given to the application unchanged."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive = receive
        self._most = most
        self._ahead: list[Message] = []
        self.left = False

    async def read(self) -> bytes | None:
        """The whole body; None where it is larger than is read, or cannot be an object of JSON."""
        body, more = bytearray(), True
        while more:
            message = await self._receive()
            self._ahead.append(message)
            if message["type"] != "http.request":
                self.left = True
                return None
            body += message.get("body", b"")
            more = bool(message.get("more_body"))
            if len(body) > self._most or not may_be_json(bytes(body[:64])):
                return None
        return bytes(body)

    async def receive(self) -> Message:
        """The next message for the application."""
        message = self._ahead.pop(0) if self._ahead else await self._receive()
        if message["type"] == "http.disconnect":
            self.left = True
        return message


class _Call:
    """A request that was let through, until it has ended."""

    def __init__(self, hold: Hold, body: _Body, send: Send) -> None:
        self._hold = hold
        self._body = body
        self._send = send
        self._status: int | None = None

    async def run(self, app: App, scope: Scope) -> None:
        try:
            await app(scope, self._body.receive, self._watched)
        finally:
            self._settle()

    async def _watched(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = int(message["status"])
            message = {**message, "headers": list(self._without_usage(message.get("headers") or ()))}
        await self._send(message)

    def _without_usage(self, headers: Any) -> Any:
        for name, value in headers:
            if bytes(name).lower() != USED.encode():
                yield name, value
                continue
            self._hold.used(tokens_in(bytes(value).decode("latin-1")))

    def _settle(self) -> None:
        status = self._status if self._status is not None else LEFT if self._body.left else FAILED
        if self._status is not None and left_unused(status) and not self._hold.has_usage:
            self._hold.used(0)
        self._hold.settle(status)


async def _refuse(send: Send, decision: Decision) -> None:
    status, headers, body = refusal_parts(decision)
    raw = [(name.encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
