"""A transport of httpx that asks Keyward before each request to a model, and reports it when its answer has ended.

The clients of OpenAI and Anthropic bring httpx, or in newer versions httpx2: it is taken from the client that is
wrapped.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from ._client import AsyncKeyward, Keyward
from ._guard import left_unused, refusal_parts
from ._hold import FAILED, LEFT, Hold, nothing
from ._request import MOST_TOKENS, estimate
from ._types import Asked, Decision
from ._usage import Meter

if TYPE_CHECKING:
    from typing_extensions import Unpack

C = TypeVar("C")

#: Those of either httpx.
Request = Any
Response = Any


class _Plan:
    """What is asked about a request, and what is sent in its place."""

    def __init__(self, request: Request, body: bytes | None, who: Asked, most_tokens: int) -> None:
        """`body` is absent where it is no JSON, and so none that asks a model."""
        self.request = request
        given = estimate(body or b"", request.url.path, most_tokens)
        self.asked: Asked = {"endpoint": request.url.path, "user_agent": request.headers.get("user-agent"), **who}
        if given.tokens:
            self.asked["estimated_input_tokens"] = given.input_tokens
            self.asked["estimated_output_tokens"] = given.output_tokens
        if given.model is not None:
            self.asked["model"] = given.model
        self.is_call = given.tokens > 0
        self.adds_usage = False
        streams = body is not None and request.url.path.endswith("/completions")
        self.content = self._with_usage(body) if body is not None and streams else body

    def _with_usage(self, body: bytes) -> bytes:
        """Has a streamed answer tell its usage; the event that nobody asked for is taken out again."""
        try:
            asked: dict[str, Any] = json.loads(body) if self.is_call else {}
        except (ValueError, RecursionError):  # a number or a nesting that Python does not read
            return body
        options = asked.get("stream_options") or {}
        if asked.get("stream") is not True or not isinstance(options, dict) or options.get("include_usage"):
            return body
        self.adds_usage = True
        return json.dumps({**asked, "stream_options": {**options, "include_usage": True}}).encode()

    def onward(self) -> Request:
        """The request as it goes on, whose answer comes uncompressed."""
        if not self.is_call:
            return self.request
        kept = {name: value for name, value in self.request.headers.items() if name not in _REMADE}
        headers = {**kept, "accept-encoding": "identity"}
        extensions = self.request.extensions
        return type(self.request)(
            self.request.method, self.request.url, headers=headers, content=self.content, extensions=extensions
        )

    def meter(self, answer: Response) -> Meter:
        """What reads the usage of the answer."""
        streamed = answer.headers.get("content-type", "").startswith("text/event-stream")
        return Meter(streamed, self.adds_usage, self.is_call)


_REMADE = ("content-length", "transfer-encoding", "accept-encoding")
_DECODED = ("content-encoding", "content-length", "transfer-encoding")


def _is_json(request: Request) -> bool:
    return "json" in request.headers.get("content-type", "")


def _refused(kind: Any, request: Request, decision: Decision) -> Response:
    status, headers, body = refusal_parts(decision)
    # The application decides whether to wait, not the client library.
    return kind.Response(status, headers=[*headers, ("x-should-retry", "false")], content=body, request=request)


def _settle(hold: Hold, status: int, meter: Meter) -> None:
    used = meter.used()
    if used is not None:
        hold.used(**used)
    elif left_unused(status):
        hold.used(0)
    hold.settle(status)


def _kept(answer: Response) -> list[tuple[str, str]]:
    return [(name, value) for name, value in answer.headers.multi_items() if name.lower() not in _DECODED]


class _Stream:
    def __init__(self, answer: Response, hold: Hold, meter: Meter) -> None:
        self._answer, self._hold, self._meter = answer, hold, meter

    def __iter__(self) -> Iterator[bytes]:
        for part in self._answer.iter_bytes():
            passed = self._meter.feed(part)
            if passed:
                yield passed
        yield self._meter.rest()

    def close(self) -> None:
        self._answer.close()
        _settle(self._hold, self._answer.status_code, self._meter)


class _AsyncStream:
    def __init__(self, answer: Response, hold: Hold, meter: Meter) -> None:
        self._answer, self._hold, self._meter = answer, hold, meter

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._answer.aiter_bytes():
            passed = self._meter.feed(part)
            if passed:
                yield passed
        yield self._meter.rest()

    async def aclose(self) -> None:
        try:
            await self._answer.aclose()
        finally:
            _settle(self._hold, self._answer.status_code, self._meter)


class _Guarded:
    """Sends by another client of httpx, with its proxies and certificates, what Keyward lets through."""

    def __init__(self, inner: Any, keyward: Keyward, most_tokens: int, who: Asked) -> None:
        self._inner, self._keyward, self._most_tokens, self._who = inner, keyward, most_tokens, who
        self._httpx = httpx_of(inner)

    def handle_request(self, request: Request) -> Response:
        """One request; a refusal is answered as a provider would."""
        plan = _Plan(request, request.read() if _is_json(request) else None, self._who, self._most_tokens)
        hold = nothing()
        if plan.is_call:
            decision = self._keyward.decide(plan.asked, True, True, None)
            if not decision.allowed:
                return _refused(self._httpx, request, decision)
            hold = Hold(self._keyward.core, plan.asked, decision)
        try:
            answer = self._inner.send(plan.onward(), stream=True)
        except self._httpx.ConnectError:
            hold.release()
            raise
        except BaseException as error:
            hold.settle(FAILED if isinstance(error, Exception) else LEFT)
            raise
        return type(answer)(
            answer.status_code,
            headers=_kept(answer),
            stream=made(self._httpx, _Stream)(answer, hold, plan.meter(answer)),
            request=request,
        )


class _AsyncGuarded:
    """The same for an event loop."""

    def __init__(self, inner: Any, keyward: AsyncKeyward, most_tokens: int, who: Asked) -> None:
        self._inner, self._keyward, self._most_tokens, self._who = inner, keyward, most_tokens, who
        self._httpx = httpx_of(inner)

    async def handle_async_request(self, request: Request) -> Response:
        """One request; a refusal is answered as a provider would."""
        plan = _Plan(request, await request.aread() if _is_json(request) else None, self._who, self._most_tokens)
        hold = nothing()
        if plan.is_call:
            decision = await self._keyward.decide(plan.asked, True, True, None)
            if not decision.allowed:
                return _refused(self._httpx, request, decision)
            hold = Hold(self._keyward.core, plan.asked, decision)
        try:
            answer = await self._inner.send(plan.onward(), stream=True)
        except self._httpx.ConnectError:
            hold.release()
            raise
        except BaseException as error:
            hold.settle(FAILED if isinstance(error, Exception) else LEFT)
            raise
        stream = made(self._httpx, _AsyncStream)(answer, hold, plan.meter(answer))
        return type(answer)(answer.status_code, headers=_kept(answer), stream=stream, request=request)


_BASES = {
    "_Stream": "SyncByteStream",
    "_AsyncStream": "AsyncByteStream",
    "_Guarded": "BaseTransport",
    "_AsyncGuarded": "AsyncBaseTransport",
}


@functools.cache
def made(httpx: Any, kind: type) -> Any:
    """A class of this module as one of the httpx that is used."""
    return type(kind.__name__, (kind, getattr(httpx, _BASES[kind.__name__])), {})


def httpx_of(client: object) -> Any:
    """The module that a client of httpx is from."""
    names = [of.__module__.split(".")[0] for of in type(client).__mro__]
    return sys.modules[next((name for name in names if name.startswith("httpx")), "httpx")]


def wrap(client: C, keyward: Keyward | AsyncKeyward, most_tokens: int = MOST_TOKENS, **who: Unpack[Asked]) -> C:
    """A client like this one, each of whose calls is asked about and reported.

    `who` says in whose name it calls: `key_id` or `api_key`, and `source_ip`, `project_id`, `user` where they are
    known. Make one for each request that you serve: it shares its connections with `client`. A refusal is the error
    that a provider's refusal would be; it is not retried by the client.
    """
    if not (who.get("key_id") or who.get("api_key")):
        raise TypeError("wrap() needs key_id or api_key: in whose name it calls")
    given: Any = client
    inner = given._client
    httpx = httpx_of(inner)
    loop = isinstance(inner, httpx.AsyncClient)
    if not isinstance(keyward, AsyncKeyward if loop else Keyward):
        raise TypeError(f"a client of this kind needs {'an AsyncKeyward' if loop else 'a Keyward'}")
    kind, of = (_AsyncGuarded, httpx.AsyncClient) if loop else (_Guarded, httpx.Client)
    transport = made(httpx, kind)(inner, keyward, most_tokens, who)
    wrapped: C = given.with_options(http_client=of(transport=transport, timeout=inner.timeout))
    return wrapped
