"""The clients: `Keyward` for threads, `AsyncKeyward` for an event loop. Both may share one `Core`."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from ._core import Backoff, Core
from ._hold import Hold
from ._reporter import Stats
from ._types import Asked, Counts, Decision, Refused, Report, Used, without_keyward

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

#: Questions that an event loop has open at once.
_WORKERS = 32
#: Seconds that a question may take beyond its deadline before the loop goes on without it.
_GRACE = 0.05


class _Client:
    """What both clients take and tell."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        token: str | None = None,
        *,
        fail_open: bool = True,
        timeout: float = 0.2,
        max_waiting: int = 10_000,
        exit_seconds: float = 2.0,
        watch_bans: bool = True,
        core: Core | None = None,
    ) -> None:
        """`url`: where Keyward is. `token`: one with the scope `record`, and `read` for the ban cache.

        `fail_open`: whether requests pass while Keyward does not answer. `timeout`: seconds that a question may take.
        `max_waiting`: records that wait at most; more are lost and counted. `exit_seconds`: how long the end of the
        process waits for them. `watch_bans`: follow the event stream, so that a banned key costs no call.
        """
        self.fail_open = fail_open
        self.core = core or Core(url, token, timeout, max_waiting, exit_seconds, watch_bans)

    @property
    def stats(self) -> Stats:
        """Counts since the start."""
        return self.core.stats

    @property
    def waiting(self) -> int:
        """Records that are not sent yet."""
        return self.core.reporter.waiting

    @property
    def knows_bans(self) -> bool:
        """Whether the event stream is heard, so that bans are known here."""
        return self.core.bans.live

    def record(self, **report: Unpack[Report]) -> None:
        """Reports a request that was made without `reserve`, in the background."""
        given: dict[str, Any] = {**report}
        status, latency_ms = given.pop("response_status", 200), given.pop("latency_ms", None)
        usage: dict[str, Any] = {name: given.pop(name) for name in Counts.__annotations__ if name in given}
        strange = given.keys() - Asked.__annotations__.keys()
        if strange:
            raise TypeError(f"record() takes no {', '.join(sorted(strange))}")
        hold = Hold(self.core, cast(Asked, given), Decision(allowed=True, by="client"))
        hold.used(**cast(Used, usage))
        hold.settle(status, latency_ms)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.core.transport.origin!r})"


class Keyward(_Client):
    """The client for threads. One per process is enough; it is safe in any thread and after a fork."""

    def check(self, *, fail_open: bool | None = None, **asked: Unpack[Asked]) -> Decision:
        """Whether a request may be made; nothing is held. Never raises."""
        return self.decide(asked, False, True, fail_open)

    def reserve(self, *, dispatched: bool = True, fail_open: bool | None = None, **asked: Unpack[Asked]) -> Hold:
        """Holds the most that a request may use, or raises `Refused`. Use it as a context manager.

        `dispatched`: what is held is charged if this process ends before it is settled. With False it is given back,
        until `dispatch` is called.
        """
        decision = self.decide(asked, True, dispatched, fail_open)
        if not decision.allowed:
            raise Refused(decision)
        return Hold(self.core, asked, decision, dispatched)

    def acquire(
        self,
        *,
        deadline: float = 30.0,
        dispatched: bool = True,
        fail_open: bool | None = None,
        **asked: Unpack[Asked],
    ) -> Hold:
        """As `reserve`, but waits while limits refuse, with back-off, for `deadline` seconds at most."""
        backoff = Backoff(deadline)
        while True:
            try:
                return self.reserve(dispatched=dispatched, fail_open=fail_open, **asked)
            except Refused as refused:
                pause = backoff.pause(refused.decision, random.random())
                if pause is None:
                    raise
            time.sleep(pause)

    def decide(self, asked: Asked, reserve: bool, dispatched: bool, fail_open: bool | None) -> Decision:
        """The decision, from what is known here or from Keyward."""
        fail_open = self.fail_open if fail_open is None else fail_open
        return self.core.known(asked) or self.core.ask(asked, reserve, dispatched, fail_open)

    def flush(self, timeout: float = 5.0) -> bool:
        """Waits until all records are sent, for so many seconds at most; says whether they are."""
        return self.core.reporter.flush(timeout)

    def close(self, timeout: float = 5.0) -> bool:
        """Sends what waits and stops to follow bans."""
        return self.core.close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncKeyward(_Client):
    """The client for an event loop: a question waits in a thread, so that the loop goes on."""

    _pool: ThreadPoolExecutor | None = None
    #: The process that the threads are in: a forked child has none of them.
    _pool_of = 0

    async def check(self, *, fail_open: bool | None = None, **asked: Unpack[Asked]) -> Decision:
        """Whether a request may be made; nothing is held. Never raises."""
        return await self.decide(asked, False, True, fail_open)

    def reserve(self, *, dispatched: bool = True, fail_open: bool | None = None, **asked: Unpack[Asked]) -> Reserving:
        """Holds the most that a request may use, or raises `Refused`: `async with client.reserve(…) as hold`.

        `dispatched`: what is held is charged if this process ends before it is settled. With False it is given back,
        until `dispatch` is called.
        """
        return Reserving(self, asked, dispatched, fail_open, None)

    def acquire(
        self,
        *,
        deadline: float = 30.0,
        dispatched: bool = True,
        fail_open: bool | None = None,
        **asked: Unpack[Asked],
    ) -> Reserving:
        """As `reserve`, but waits while limits refuse, with back-off, for `deadline` seconds at most."""
        return Reserving(self, asked, dispatched, fail_open, deadline)

    async def decide(self, asked: Asked, reserve: bool, dispatched: bool, fail_open: bool | None) -> Decision:
        """The decision, from what is known here or from Keyward."""
        fail_open = self.fail_open if fail_open is None else fail_open
        known = self.core.known(asked)
        if known is not None:
            return known
        job = self._workers().submit(self.core.ask, asked, reserve, dispatched, fail_open)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(job), self.core.timeout + _GRACE)
        except (asyncio.TimeoutError, asyncio.CancelledError) as error:
            if not job.cancel():  # it is on its way: what it holds is held for nobody
                job.add_done_callback(self._give_back)
            if isinstance(error, asyncio.CancelledError):
                raise
            self.core.stats.unanswered += 1
            return without_keyward(fail_open)

    def _give_back(self, job: Future[Decision]) -> None:
        if not job.cancelled() and job.exception() is None:
            self.core.give_back(job.result().reservation_id)

    def _workers(self) -> ThreadPoolExecutor:
        if self._pool is None or self._pool_of != os.getpid():
            self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="keyward")
            self._pool_of = os.getpid()
        return self._pool

    async def flush(self, timeout: float = 5.0) -> bool:
        """Waits until all records are sent, for so many seconds at most; says whether they are."""
        return await asyncio.get_running_loop().run_in_executor(None, self.core.reporter.flush, timeout)

    async def close(self, timeout: float = 5.0) -> bool:
        """Sends what waits and stops to follow bans."""
        sent = await asyncio.get_running_loop().run_in_executor(None, self.core.close, timeout)
        if self._pool is not None:
            self._pool.shutdown(wait=False)
            self._pool = None
        return sent

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class Reserving:
    """What `reserve` and `acquire` of an `AsyncKeyward` return: await it, or enter it with `async with`."""

    def __init__(
        self, client: AsyncKeyward, asked: Asked, dispatched: bool, fail_open: bool | None, deadline: float | None
    ) -> None:
        self._client = client
        self._asked = asked
        self._dispatched = dispatched
        self._fail_open = fail_open
        self._deadline = deadline
        self._hold: Hold | None = None

    def __await__(self) -> Generator[Any, None, Hold]:
        return self._reserve().__await__()

    async def _reserve(self) -> Hold:
        backoff = Backoff(self._deadline or 0.0)
        while True:
            decision = await self._client.decide(self._asked, True, self._dispatched, self._fail_open)
            if decision.allowed:
                return Hold(self._client.core, self._asked, decision, self._dispatched)
            pause = None if self._deadline is None else backoff.pause(decision, random.random())
            if pause is None:
                raise Refused(decision)
            await asyncio.sleep(pause)

    async def __aenter__(self) -> Hold:
        self._hold = await self._reserve()
        return self._hold

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._hold is not None:
            await self._hold.__aexit__(kind, error, trace)
