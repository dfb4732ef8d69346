"""What all middleware does: which requests are asked about, with which question, and what a refusal looks like."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, TypedDict, Union

from ._request import KEY_HEADERS, MOST_BODY, MOST_TOKENS, Clients, Estimate, Routes, estimate, keys_in_query, keys_of
from ._types import Asked, Decision, problem_body, refusal

if TYPE_CHECKING:
    from typing_extensions import Self

log = logging.getLogger("keyward")

#: The response header by which an application says what a request used. It is taken out of the response.
USED = "x-tokens-used"


@dataclass(frozen=True)
class Request:
    """A request as an estimate sees it. `body` is absent where it is too large, or cannot be an object of JSON."""

    method: str
    path: str
    headers: Sequence[tuple[str, str]]
    body: bytes | None = None


Estimated = Union[int, Callable[[Request], Union[int, Estimate, None]], None]
FailOpen = Union[bool, Sequence[str]]


class Options(TypedDict, total=False):
    """The options of every middleware, beside where Keyward is.

    `exclude`: patterns of paths that nobody is asked about. `fail_open`: what happens while Keyward does not answer:
    True lets through, False refuses, a list of patterns names the routes that let through. `estimated_tokens`: the most
    that a request may use: a number, a function of the request, or None to read it from the request. `most_tokens`: of
    an answer, where a request to a model names no cap. `key_headers`: every header that the application takes keys
    from. `key_queries`: every parameter of the query that it takes keys from. `trusted_proxies`: networks of your own
    proxies. `client_header`: the header in which they say who asks. `require_key`: refuse requests without a key.
    `most_body`: bytes of a request that are read to estimate it.
    """

    exclude: Sequence[str]
    fail_open: FailOpen
    estimated_tokens: Estimated
    most_tokens: int
    key_headers: Sequence[str]
    key_queries: Sequence[str]
    trusted_proxies: Sequence[str]
    client_header: str
    require_key: bool
    most_body: int


class Guard:
    """The options of a middleware, read once."""

    def __init__(
        self,
        exclude: Sequence[str] = (),
        fail_open: FailOpen = True,
        estimated_tokens: Estimated = None,
        most_tokens: int = MOST_TOKENS,
        key_headers: Sequence[str] = KEY_HEADERS,
        key_queries: Sequence[str] = (),
        trusted_proxies: Sequence[str] = (),
        client_header: str = "x-forwarded-for",
        require_key: bool = False,
        most_body: int = MOST_BODY,
    ) -> None:
        lists = {"exclude": exclude, "key_headers": key_headers, "key_queries": key_queries}
        for name, value in (lists | {"trusted_proxies": trusted_proxies}).items():
            if isinstance(value, str):
                raise TypeError(f"{name}: a list is needed, such as [{value!r}]")
        self._excluded = Routes(exclude)
        self._open = fail_open if isinstance(fail_open, bool) else Routes(fail_open)
        self._estimated = estimated_tokens
        self._most_tokens = most_tokens
        self.key_headers = tuple(name.lower() for name in key_headers)
        self._key_queries = tuple(key_queries)
        self.clients = Clients(trusted_proxies, client_header)
        self._require_key = require_key
        self.most_body = most_body

    @classmethod
    def of(cls, options: Options) -> Self:
        """From the arguments of a middleware."""
        return cls(**options)

    def excludes(self, path: str) -> bool:
        """Whether nobody is asked about this path."""
        return path in self._excluded

    def fails_open(self, path: str) -> bool:
        """Whether requests to this path pass while Keyward does not answer."""
        return self._open if isinstance(self._open, bool) else path in self._open

    @property
    def reads_bodies(self) -> bool:
        """Whether the estimate is taken from what is asked for."""
        return not isinstance(self._estimated, int)

    def key(self, headers: Iterable[tuple[str, str]], query: str) -> str | Decision | None:
        """The key of a request, or its refusal; None where it has none, which is the application's to refuse."""
        found = keys_of(headers, self.key_headers) | keys_in_query(query, self._key_queries)
        if None in found:
            return refusal("INVALID_REQUEST")
        if len(found) > 1:
            return refusal("AMBIGUOUS_KEY")
        if not found:
            return refusal("NO_KEY") if self._require_key else None
        return found.pop()

    def question(self, key: str, source_ip: str, request: Request) -> Asked:
        """What Keyward is asked about a request."""
        agent = next((value for name, value in request.headers if name == "user-agent"), None)
        asked: Asked = {"api_key": key, "source_ip": source_ip, "endpoint": request.path or "/", "user_agent": agent}
        given = self._estimate(request)
        if not isinstance(given, Estimate):
            return asked | {"estimated_tokens": given}
        if given.tokens:
            asked["estimated_input_tokens"] = given.input_tokens
            asked["estimated_output_tokens"] = given.output_tokens
        if given.model is not None:
            asked["model"] = given.model
        return asked

    def _estimate(self, request: Request) -> int | Estimate:
        """The estimate of the application, else that of the request: also where the application's fails."""
        try:
            given = self._estimated(request) if callable(self._estimated) else self._estimated
            if given is not None:
                return given if isinstance(given, Estimate) else max(0, int(given))
        except Exception:
            log.exception("keyward: estimated_tokens failed, and the estimate is taken from the request")
        return estimate(request.body or b"", request.path, self._most_tokens)


def unreadable() -> Decision:
    """The refusal of what cannot be read here. What is in a request comes from its caller, whose key may be banned: it
    is no outage of Keyward, and so no matter of `fail_open`."""
    log.exception("keyward: a request could not be read, and is refused")
    return refusal("INVALID_REQUEST")


def refusal_parts(decision: Decision) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, headers and body of a refusal."""
    body = json.dumps(problem_body(decision)).encode()
    headers = [("content-type", "application/json"), ("content-length", str(len(body)))]
    if decision.retry_after is not None:
        headers.append(("retry-after", str(decision.retry_after)))
    elif decision.status != 503:
        headers.append(("x-should-retry", "false"))
    return decision.status, headers, body


def tokens_in(value: str) -> int | None:
    """The number in an `X-Tokens-Used`; None where there is none."""
    value = value.strip()
    return int(value) if value.isascii() and value.isdigit() and len(value) <= 15 else None


def left_unused(status: int) -> bool:
    """Whether an answer of the application says by its status that no model was asked."""
    return 400 <= status < 500
