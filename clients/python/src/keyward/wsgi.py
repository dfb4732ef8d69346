"""Middleware for WSGI: Flask, Django, Pyramid, Bottle.

`app.wsgi_app = KeywardMiddleware(app.wsgi_app, url="http://127.0.0.1:8080")`. A handler says what it used by the
response header `X-Tokens-Used`, which is taken out again, or by `environ["keyward"].used(212)`.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ._client import Keyward
from ._guard import USED, Guard, Options, Request, left_unused, refusal_parts, tokens_in, unreadable
from ._hold import FAILED, LEFT, Hold, nothing
from ._request import may_be_json
from ._types import Asked, Decision

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from typing_extensions import Unpack

__all__ = ["KeywardMiddleware"]

log = logging.getLogger("keyward")


class KeywardMiddleware:
    """Asks Keyward before each request that shows a key, and reports it when it has ended, however it ends."""

    def __init__(
        self,
        app: WSGIApplication,
        url: str = "http://127.0.0.1:8080",
        token: str | None = None,
        *,
        timeout: float = 0.2,
        client: Keyward | None = None,
        **options: Unpack[Options],
    ) -> None:
        """`client` is one that exists already; else one is made for `url`, `token` and `timeout` (seconds)."""
        self.app = app
        self.guard = Guard.of(options)
        self.client = client or Keyward(url, token, timeout=timeout)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """One request."""
        hold = self._hold(environ)
        if isinstance(hold, Decision):
            return _refuse(start_response, hold)
        environ["keyward"] = hold
        call = _Call(hold, start_response)
        try:
            return call.watch(self.app(environ, call.start))
        except BaseException:
            call.settle(FAILED)
            raise

    def _hold(self, environ: WSGIEnvironment) -> Hold | Decision:
        path = _text(environ.get("SCRIPT_NAME", "")) + _text(environ.get("PATH_INFO", "")) or "/"
        if self.guard.excludes(path):
            return nothing()
        fail_open = self.guard.fails_open(path)
        try:
            headers = list(_headers(environ))
            apart = [part for header in headers for part in _apart(header)]
            key = self.guard.key(apart, str(environ.get("QUERY_STRING") or ""))
            if key is None:
                return nothing()
            if isinstance(key, Decision):
                return key
            body = _read(environ, self.guard.most_body) if self.guard.reads_bodies else None
            forwarded = [value for name, value in headers if name == self.guard.clients.header]
            source_ip = self.guard.clients.of(environ.get("REMOTE_ADDR"), forwarded)
            request = Request(str(environ.get("REQUEST_METHOD", "GET")), path, headers, body)
            asked: Asked = self.guard.question(key, source_ip, request)
            decision = self.client.decide(asked, True, True, fail_open)
        except Exception:
            return unreadable()
        return Hold(self.client.core, asked, decision) if decision.allowed else decision


class _Call:
    """A request that was let through, until it has ended."""

    def __init__(self, hold: Hold, start_response: StartResponse) -> None:
        self._hold = hold
        self._start_response = start_response
        self._status: int | None = None

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """What the application calls in place of the server's own."""
        self._status = int(status[:3]) if status[:3].isdigit() else FAILED
        kept = []
        for name, value in headers:
            if name.lower() == USED:
                self._hold.used(tokens_in(value))
            else:
                kept.append((name, value))
        return self._start_response(status, kept, exc_info) if exc_info else self._start_response(status, kept)

    def watch(self, answer: Iterable[bytes]) -> _Watched:
        """The answer of the application, which settles when it is closed."""
        return _Watched(answer, self)

    def settle(self, otherwise: int) -> None:
        """Settles with the status of the application, else with this one."""
        status = self._status if self._status is not None else otherwise
        if self._status is not None and left_unused(status) and not self._hold.has_usage:
            self._hold.used(0)
        self._hold.settle(status)


class _Watched:
    """The body of an answer."""

    def __init__(self, answer: Iterable[bytes], call: _Call) -> None:
        self._answer = answer
        self._parts = iter(answer)
        self._call = call

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._parts)
        except StopIteration:
            raise
        except BaseException:
            self._call.settle(FAILED)
            raise

    def close(self) -> None:
        """Called by the server when the request has ended, also where the client has left."""
        try:
            close = getattr(self._answer, "close", None)
            if close is not None:
                close()
        finally:
            self._call.settle(LEFT)


def _text(value: str) -> str:
    """A text of the environment, whose bytes are given as Latin-1."""
    return value.encode("latin-1", "replace").decode("utf-8", "replace")


def _headers(environ: WSGIEnvironment) -> Iterator[tuple[str, str]]:
    for name, value in environ.items():
        if name.startswith("HTTP_") and isinstance(value, str):
            yield name[5:].replace("_", "-").lower(), value


def _apart(header: tuple[str, str]) -> Iterator[tuple[str, str]]:
    """Servers join headers of one name with a comma: each is looked at."""
    name, value = header
    for part in value.split(","):
        yield name, part


class _Replayed(io.RawIOBase):
    """What was read of a body, and the rest of it: so many bytes, or up to its end where they are not known."""

    def __init__(self, start: bytes, rest: Any, left: int | None) -> None:
        self._start = memoryview(start)
        self._rest = rest
        self._left = left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        wanted = memoryview(buffer).cast("B")
        if self._start:
            part = self._start[: len(wanted)]
            self._start = self._start[len(part) :]
        else:
            most = len(wanted) if self._left is None else min(len(wanted), self._left)
            part = memoryview(self._rest.read(most) if most else b"")
            self._left = None if self._left is None else self._left - len(part)
        wanted[: len(part)] = part
        return len(part)


def _read(environ: WSGIEnvironment, most: int) -> bytes | None:
    """The body; None where it is larger than is read, of unknown length, or cannot be an object of JSON."""
    length = str(environ.get("CONTENT_LENGTH") or "")
    stream = environ.get("wsgi.input")
    known = length.isascii() and length.isdigit() and len(length) <= 18
    if stream is None or (known and int(length) == 0) or not (known or environ.get("wsgi.input_terminated")):
        return None
    wanted = min(int(length), most + 1) if known else most + 1
    body = stream.read(min(wanted, 64))
    if may_be_json(body) and len(body) < wanted:
        body += stream.read(wanted - len(body))
    whole = len(body) == int(length) if known else len(body) <= most
    left = int(length) - len(body) if known else None
    environ["wsgi.input"] = io.BytesIO(body) if whole else io.BufferedReader(_Replayed(body, stream, left))
    return body if whole and len(body) <= most else None


def _refuse(start_response: StartResponse, decision: Decision) -> list[bytes]:
    status, headers, body = refusal_parts(decision)
    start_response(f"{status} {HTTPStatus(status).phrase}", headers)
    return [body]
