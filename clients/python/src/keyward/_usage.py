"""What an answer of a provider says that it used: OpenAI's and Anthropic's shapes, whole or streamed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ._types import Used

#: An event that is longer is passed on unread.
_LONGEST = 1 << 20


def usage_in(usage: Any) -> Used | None:
    """The usage object of an answer; None where it counts nothing."""
    if not isinstance(usage, Mapping):
        return None
    given = _of_anthropic(usage) if _is_anthropic(usage) else _of_openai(usage)
    return given if given.get("prompt_tokens") is not None or given.get("completion_tokens") is not None else None


def _is_anthropic(usage: Mapping[str, Any]) -> bool:
    return any(usage.get(name) is not None for name in ("cache_read_input_tokens", "cache_creation_input_tokens")) and (
        usage.get("prompt_tokens") is None
    )


def _of_anthropic(usage: Mapping[str, Any]) -> Used:
    """Tokens of the cache come beside those of the input; Keyward counts them as part of it."""
    read, written = _count(usage, "cache_read_input_tokens") or 0, _count(usage, "cache_creation_input_tokens") or 0
    long = _count(_part(usage, "cache_creation"), "ephemeral_1h_input_tokens") or 0
    given = _count(usage, "input_tokens")
    return {
        "prompt_tokens": None if given is None else given + read + written,
        "completion_tokens": _count(usage, "output_tokens"),
        "cached_tokens": read or None,
        "cache_write_tokens": max(0, written - long) or None,
        "cache_write_1h_tokens": long or None,
    }


def _of_openai(usage: Mapping[str, Any]) -> Used:
    first, second = ("input", "output") if usage.get("prompt_tokens") is None else ("prompt", "completion")
    return {
        "prompt_tokens": _count(usage, f"{first}_tokens"),
        "completion_tokens": _count(usage, f"{second}_tokens"),
        "cached_tokens": _count(_part(usage, f"{first}_tokens_details"), "cached_tokens"),
        "reasoning_tokens": _count(_part(usage, f"{second}_tokens_details"), "reasoning_tokens"),
    }


def _part(usage: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = usage.get(name)
    return part if isinstance(part, Mapping) else {}


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    value = usage.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        return None
    return int(value)


class Meter:
    """Reads the usage of an answer from its bytes, as they pass."""

    def __init__(self, streamed: bool, drop_usage: bool = False, reads: bool = True) -> None:
        """`drop_usage`: take out the event of usage alone, which the caller has not asked for. `reads`: whether usage
        is looked for at all."""
        self._streamed = streamed and reads
        self._drop = drop_usage
        self._buffer = b""
        self._known: dict[str, Any] = {}
        self._finished = False
        self._lost = not reads

    def feed(self, part: bytes) -> bytes:
        """Takes bytes of an answer, and gives those that are passed on."""
        if not self._streamed:
            self._keep(part)
            return part
        passed = b""
        self._buffer += part
        while True:
            end = _end_of_event(self._buffer)
            if end is None:
                break
            event, self._buffer = self._buffer[:end], self._buffer[end:]
            passed += event if self._pass(event) else b""
        if len(self._buffer) > _LONGEST:
            passed, self._buffer, self._lost = passed + self._buffer, b"", True
        return passed

    def rest(self) -> bytes:
        """What is still to be passed on when the answer has ended."""
        left, self._buffer = (self._buffer, b"") if self._streamed else (b"", self._buffer)
        if left:
            self._pass(left)
        return left

    def used(self) -> Used | None:
        """The usage; None where the answer broke off before it was told, or told none."""
        if self._streamed:
            return usage_in(self._known) if self._finished else None
        try:
            answer = json.loads(self._buffer)
        except (ValueError, RecursionError):
            return None
        return usage_in(answer.get("usage")) if isinstance(answer, dict) else None

    def _keep(self, part: bytes) -> None:
        if not self._lost and len(self._buffer) + len(part) <= 64 * _LONGEST:
            self._buffer += part
        else:
            self._buffer, self._lost = b"", True

    def _pass(self, event: bytes) -> bool:
        lines = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
        try:
            data = json.loads(b"\n".join(lines)) if lines and lines[0][:1] == b"{" else None
        except (ValueError, RecursionError):
            data = None
        return True if not isinstance(data, dict) else not (self._read(data) and self._drop)

    def _read(self, data: dict[str, Any]) -> bool:
        """Takes the usage of an event; says whether it has nothing else to say."""
        kind = data.get("type")
        inner = data.get("message") or data.get("response")
        inner = inner.get("usage") if isinstance(inner, dict) else None
        usage = data.get("usage") or inner
        if isinstance(usage, dict):
            self._known.update({name: value for name, value in usage.items() if value is not None})
        if kind == "message_start":
            return False
        if kind is None:
            self._finished = self._finished or isinstance(usage, dict)
        elif kind in ("message_delta", "response.completed", "response.incomplete", "response.failed"):
            self._finished = self._finished or isinstance(usage, dict)
        return kind is None and isinstance(usage, dict) and data.get("choices") == []


def _end_of_event(buffer: bytes) -> int | None:
    ends = [at + len(blank) for blank in (b"\n\n", b"\r\n\r\n", b"\r\r") for at in [buffer.find(blank)] if at >= 0]
    return min(ends) if ends else None
