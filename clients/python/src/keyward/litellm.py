"""A callback and an authentication for LiteLLM's proxy. Needs `keyward[litellm]`.

    litellm_settings:
      callbacks: keyward.litellm.callback
    general_settings:
      custom_auth: keyward.litellm.user_api_key_auth      # only for keys that are registered

The callback holds the most that a request may use before it goes to a provider, and settles it to what LiteLLM counted,
streamed or not. Where Keyward is, is in the environment: `KEYWARD_URL`, `KEYWARD_TOKEN`, `KEYWARD_FAIL_OPEN` (`true`),
`KEYWARD_TRUSTED_PROXIES` (networks, separated by commas). Or make a `KeywardCallback` of your own.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import time
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from fastapi import HTTPException
from litellm.integrations.custom_logger import CustomLogger
from litellm.proxy._types import UserAPIKeyAuth

from ._client import AsyncKeyward
from ._guard import left_unused, unreadable
from ._hold import FAILED, LEFT, Hold
from ._request import KEY_HEADERS, MOST_TOKENS, Clients, Estimate, estimate, keys_of, unread
from ._transport import Answered, Unanswered
from ._types import Asked, Decision, problem_body, refusal, without_keyward
from ._usage import usage_in

if TYPE_CHECKING:
    from fastapi import Request

__all__ = ["KeywardAuth", "KeywardCallback", "callback", "user_api_key_auth"]

log = logging.getLogger("keyward")

#: Requests that are on their way at most; of more, the oldest are left to their leases.
_MOST_OPEN = 50_000
_HANDLE = "keyward_hold"
_HASH = re.compile(r"[0-9a-f]{64}")
#: Seconds that a key which is known to be registered is not looked up again.
_KNOWN = 60.0
_LOOKUP_SECONDS = 2.0


def client_of_environment() -> AsyncKeyward:
    """The client that the environment describes."""
    return AsyncKeyward(
        os.environ.get("KEYWARD_URL", "http://127.0.0.1:8080"),
        os.environ.get("KEYWARD_TOKEN") or None,
        fail_open=os.environ.get("KEYWARD_FAIL_OPEN", "true").lower() == "true",
    )


class KeywardCallback(CustomLogger):  # type: ignore[misc]
    """Put it into `litellm_settings.callbacks`."""

    def __init__(self, client: AsyncKeyward | None = None, most_tokens: int = MOST_TOKENS) -> None:
        super().__init__()
        self._client = client
        self._most_tokens = most_tokens
        self._open: OrderedDict[str, Hold] = OrderedDict()

    @property
    def client(self) -> AsyncKeyward:
        """The client; that of the environment, unless another was given."""
        if self._client is None:
            self._client = client_of_environment()
        return self._client

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: Any
    ) -> dict[str, Any]:
        """Holds what the request may use; a refusal is an answer of 403, 429 or 503."""
        try:
            asked = self._asked(user_api_key_dict, data)
            decision = await self.client.decide(asked, True, True, None) if asked else None
        except Exception:
            asked, decision = None, unreadable()
        if decision is not None and not decision.allowed:
            raise _http(decision)
        if asked is not None and decision is not None:
            self._begin(data, Hold(self.client.core, asked, decision))
        return data

    def _estimate(self, body: Any, path: str) -> Estimate:
        try:
            written = json.dumps(body, default=str).encode()
        except (TypeError, ValueError, RecursionError):  # nested too deep for one: it is held as what names no cap
            return unread(b"", path, self._most_tokens)
        return estimate(written, path, self._most_tokens)

    def _asked(self, who: Any, data: dict[str, Any]) -> Asked | None:
        name = (getattr(who, "metadata", None) or {}).get("keyward_key_id") or getattr(who, "api_key", None)
        if not name:
            return None
        sent = data.get("proxy_server_request") or {}
        path = urlsplit(str(sent.get("url") or "/")).path
        given = self._estimate(sent.get("body") or data, path)
        named = data.get("model")
        model = given.model or (named if isinstance(named, str) else None)
        asked: Asked = {"endpoint": path, "model": model, "source_ip": _address_in(data)}
        asked["user_agent"] = (sent.get("headers") or {}).get("user-agent")
        if given.tokens:
            asked["estimated_input_tokens"] = given.input_tokens
            asked["estimated_output_tokens"] = given.output_tokens
        # LiteLLM knows its own keys by a hash, which is a public name of them.
        is_public = _HASH.fullmatch(name) or (who.metadata or {}).get("keyward_key_id")
        return {**asked, "key_id": name} if is_public else {**asked, "api_key": name}

    def _begin(self, data: dict[str, Any], hold: Hold) -> None:
        handle = uuid.uuid4().hex
        _metadata(data)[_HANDLE] = handle
        self._open[handle] = hold
        if len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)

    def _take(self, *places: Any) -> Hold | None:
        for place in places:
            handle = place.get(_HANDLE) if isinstance(place, dict) else None
            if isinstance(handle, str) and handle in self._open:
                return self._open.pop(handle)
        return None

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Settles to what LiteLLM has counted."""
        try:
            given = kwargs.get("litellm_params") or {}
            places = [given.get("metadata"), given.get("litellm_metadata"), kwargs.get("metadata")]
            hold = self._take(*places)
            if hold is None:
                return
            if any(isinstance(place, dict) and place.get("client_disconnected") for place in places):
                # What LiteLLM counts of a stream that broke off is a guess: the estimate stays.
                hold.settle(LEFT)
            elif kwargs.get("cache_hit"):
                hold.used(0, cost_usd=0)
            else:
                hold.used(**(_usage_of(response_obj) or {}), model=_model_of(kwargs))
            hold.settle(200)
        except Exception:
            log.exception("keyward: a request could not be reported")

    async def async_post_call_failure_hook(
        self, request_data: dict[str, Any], original_exception: Exception, user_api_key_dict: Any, *_: Any, **__: Any
    ) -> None:
        """Settles what failed for good: free where the provider refused it, else charged the estimate."""
        hold = self._take(request_data.get("metadata"), request_data.get("litellm_metadata"))
        if hold is None:
            return
        status = getattr(original_exception, "status_code", None)
        status = status if isinstance(status, int) else FAILED
        if left_unused(status) and status != 408:
            hold.used(0)
        hold.settle(status)

    async def async_post_call_streaming_iterator_hook(
        self, user_api_key_dict: Any, response: Any, request_data: dict[str, Any]
    ) -> AsyncIterator[Any]:
        """Passes a stream on; one that its client leaves is charged the estimate."""
        try:
            async for item in response:
                yield item
        except (GeneratorExit, asyncio.CancelledError):
            hold = self._take(request_data.get("metadata"), request_data.get("litellm_metadata"))
            if hold is not None:
                hold.settle(LEFT)
            raise


def _metadata(data: dict[str, Any]) -> dict[str, Any]:
    """The metadata that is LiteLLM's own: for some routes, `metadata` is the provider's."""
    name = "litellm_metadata" if isinstance(data.get("litellm_metadata"), dict) else "metadata"
    if not isinstance(data.get(name), dict):
        data[name] = {}
    place: dict[str, Any] = data[name]
    return place


def _address_in(data: dict[str, Any]) -> str:
    for name in ("metadata", "litellm_metadata"):
        place = data.get(name)
        if isinstance(place, dict) and place.get("requester_ip_address"):
            return Clients().of(str(place["requester_ip_address"]), ())
    return "127.0.0.1"


def _usage_of(answer: Any) -> Any:
    """The usage of an answer, in the shape that LiteLLM gives all of them."""
    usage = answer.get("usage") if isinstance(answer, dict) else getattr(answer, "usage", None)
    if usage is not None and not isinstance(usage, dict):
        usage = usage.model_dump() if hasattr(usage, "model_dump") else dict(usage)
    if isinstance(usage, dict) and usage.get("prompt_tokens") is not None:
        written = usage.get("cache_creation_input_tokens")
        found = usage_in(usage)
        return {**found, "cache_write_tokens": written} if found and written else found
    return usage_in(usage)


def _model_of(kwargs: Any) -> str | None:
    """The model that answered, which an alias or a fallback may have put in the place of the one that was asked."""
    model = kwargs.get("model")
    return model if isinstance(model, str) and model else None


def _http(decision: Decision) -> HTTPException:
    headers = {"retry-after": str(decision.retry_after)} if decision.retry_after is not None else {}
    return HTTPException(decision.status, problem_body(decision)["error"], headers)


class KeywardAuth:
    """Lets in the keys that are registered with Keyward, and nobody else. Its token needs `record` and `read`.

    While Keyward does not answer nobody is let in: an authentication cannot fail open.
    """

    def __init__(self, client: AsyncKeyward | None = None, trusted_proxies: tuple[str, ...] | None = None) -> None:
        self._client = client
        named = os.environ.get("KEYWARD_TRUSTED_PROXIES", "").split(",")
        proxies = (
            trusted_proxies if trusted_proxies is not None else tuple(name.strip() for name in named if name.strip())
        )
        self._clients = Clients(proxies)
        self._registered: OrderedDict[str, float] = OrderedDict()

    @property
    def client(self) -> AsyncKeyward:
        """The client; that of the environment, unless another was given."""
        if self._client is None:
            self._client = client_of_environment()
        return self._client

    async def __call__(self, request: Request, api_key: str) -> UserAPIKeyAuth:
        """What LiteLLM knows of a request from now on: the public id of its key."""
        decision = await self._decide(request)
        if not decision.allowed or decision.key_id is None:
            raise _http(decision if not decision.allowed else without_keyward(False))
        name = decision.key_id
        return UserAPIKeyAuth(api_key=name, key_alias=name, metadata={"keyward_key_id": name})

    async def _decide(self, request: Request) -> Decision:
        headers = [(name.lower(), value) for name, value in request.headers.items()]
        found = keys_of(headers, (*KEY_HEADERS, "x-litellm-api-key"))
        if not found:
            return refusal("NO_KEY")
        if None in found or len(found) > 1:
            return refusal("INVALID_REQUEST" if None in found else "AMBIGUOUS_KEY")
        forwarded = [value for name, value in headers if name == self._clients.header]
        source_ip = self._clients.of(request.client.host if request.client else None, forwarded)
        asked: Asked = {"api_key": found.pop(), "source_ip": source_ip, "endpoint": request.url.path}
        decision = await self.client.decide(asked, False, True, False)
        if decision.allowed and decision.key_id is not None and not await self._is_registered(decision.key_id):
            return Decision(False, "UNKNOWN_KEY", key_id=decision.key_id, by="client")
        return decision

    async def _is_registered(self, key_id: str) -> bool:
        now = time.monotonic()
        if self._registered.get(key_id, 0.0) > now:
            return True
        path = f"/v1/keys/{quote(key_id, safe='')}"
        loop, call = asyncio.get_running_loop(), self.client.core.transport.call
        try:
            await loop.run_in_executor(None, call, "GET", path, b"", "application/json", _LOOKUP_SECONDS)
        except (Answered, Unanswered) as error:
            if not (isinstance(error, Answered) and error.status == 404):
                log.error(
                    "keyward: whether a key is registered is not known: %s (the token needs the scope read)", error
                )
            return False
        self._registered[key_id] = now + _KNOWN
        if len(self._registered) > _MOST_OPEN:
            self._registered.popitem(last=False)
        return True


callback = KeywardCallback()
_auth = KeywardAuth()


async def user_api_key_auth(request: Request, api_key: str) -> UserAPIKeyAuth:
    """The authentication for `general_settings.custom_auth`."""
    return await _auth(request, api_key)
