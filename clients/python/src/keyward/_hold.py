"""What a request holds until it is known what it used."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from datetime import datetime, timezone
from types import TracebackType
from typing import TYPE_CHECKING

from ._request import cut
from ._types import JSON, Asked, Decision, Used

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from ._core import Core

log = logging.getLogger("keyward")

_USAGE = (
    "tokens_used", "prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens",
    "cache_write_1h_tokens", "reasoning_tokens", "images", "seconds", "characters", "cost_usd", "service_tier",
)  # fmt: skip
#: The status of a request whose client left, and of one that failed.
LEFT, FAILED = 499, 500


class Hold:
    """A request that was let through. A context manager, plain or async, that settles however the block ends.

    What `used` was told is charged. Where nobody told, the whole estimate stays charged: a model that was asked has
    its price, whoever waits for the answer. Settling puts a record in a queue: it waits for nothing and never raises.
    """

    def __init__(self, core: Core | None, asked: Asked, decision: Decision, dispatched: bool = True) -> None:
        self.decision = decision
        self._core = core
        self._asked = asked
        self._usage: JSON = {}
        self._dispatched = dispatched
        self._started = time.monotonic()
        self._ended = core is None
        self._lock = threading.Lock()

    @property
    def key_id(self) -> str | None:
        """The public id of the key, where Keyward has told it."""
        return self.decision.key_id

    @property
    def has_usage(self) -> bool:
        """Whether anybody has told what was used."""
        return any(name in self._usage for name in _USAGE if name != "service_tier")

    @property
    def estimate(self) -> int:
        """The tokens that are held."""
        both = (self._asked.get("estimated_input_tokens") or 0) + (self._asked.get("estimated_output_tokens") or 0)
        return self._asked.get("estimated_tokens") or both

    def used(self, tokens_used: int | None = None, /, **usage: Unpack[Used]) -> None:
        """Says what the request used; what is said last of a field counts."""
        if tokens_used is not None:
            usage["tokens_used"] = tokens_used
        for name, value in usage.items():
            if value is not None:
                self._usage[name] = value

    def settle(self, status: int = 200, latency_ms: float | None = None) -> None:
        """Reports the request as ended with this HTTP status. A second time does nothing.

        `latency_ms`: milliseconds that it took, where they are not those since it was asked about.
        """
        if self._core is None or not self._end():
            return
        try:
            self._core.report(self._record(status, latency_ms))
        except Exception:
            log.exception("keyward: a request could not be reported")

    def release(self) -> None:
        """Gives back what is held: the request was not made, and used nothing."""
        if self._core is not None and self._end():
            self._core.give_back(self.decision.reservation_id)

    def dispatch(self) -> None:
        """Says that the request leaves for its provider: from now on it is charged, even if this process ends."""
        if self._core is not None and not self._dispatched:
            self._dispatched = True
            self._core.mark_dispatched(self.decision.reservation_id)

    def _end(self) -> bool:
        with self._lock:
            first, self._ended = not self._ended, True
        return first

    def _record(self, status: int, latency_ms: float | None) -> JSON:
        record: JSON = {
            name: self._asked.get(name)
            for name in ("api_key", "key_id", "source_ip", "endpoint", "model", "project_id", "user_agent", "user")
            if self._asked.get(name) is not None
        }
        record |= {name: value for name, value in self._usage.items() if value is not None}
        if "model" in record:
            record["model"] = cut(str(record["model"]), 128)
        if self.decision.reservation_id is not None:
            record["reservation_id"] = self.decision.reservation_id
        elif not self.has_usage and self.estimate:
            record["tokens_used"] = self.estimate
        return record | {
            "request_id": str(uuid.uuid4()),
            "response_status": status if 100 <= status <= 599 else FAILED,
            "latency_ms": round((time.monotonic() - self._started) * 1e3 if latency_ms is None else latency_ms, 3),
            "timestamp": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        }

    def _leave(self, error: BaseException | None) -> None:
        if error is None:
            self.settle()
        elif not self._dispatched and not self.has_usage:
            self.release()
        elif isinstance(error, (GeneratorExit, asyncio.CancelledError, KeyboardInterrupt)):
            self.settle(LEFT)
        else:
            self.settle(FAILED)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(error)

    def __repr__(self) -> str:
        return f"Hold(key_id={self.key_id!r}, reservation_id={self.decision.reservation_id!r})"


def nothing() -> Hold:
    """What a request holds that nobody asked about: nothing, and what it used is not reported."""
    return Hold(None, {}, Decision(allowed=True, by="client"))
