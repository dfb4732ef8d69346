"""Records on their way to Keyward: in the background, in batches, with bounds. Nothing here raises into a caller."""

from __future__ import annotations

import atexit
import json
import logging
import os
import random
import threading
import time
import weakref
from collections import deque
from dataclasses import dataclass
from typing import Callable

from ._transport import Answered, Transport, Unanswered
from ._types import JSON

log = logging.getLogger("keyward")

_BATCH = 200
#: Seconds that a record waits for others to go with it.
_GATHER = 0.02
_TIMEOUT = 5.0
_LONGEST_PAUSE = 5.0
#: What will never be taken, however often it is sent.
_UNREADABLE = (400, 413, 415, 422)
_MOST_ERRANDS = 1_000


@dataclass
class Stats:
    """Counts since the start of the process."""

    #: Questions that were put to Keyward.
    asked: int = 0
    #: Requests that were refused without a question, as the ban of their key is known here.
    refused_by_cache: int = 0
    #: Questions that Keyward did not answer.
    unanswered: int = 0
    #: Records that Keyward has taken.
    sent: int = 0
    #: Records that were lost, as too many waited.
    dropped: int = 0
    #: Records that Keyward would not take.
    rejected: int = 0


class Reporter:
    """A bounded queue and the thread that empties it, which starts with the first record."""

    def __init__(self, transport: Transport, stats: Stats, most_waiting: int, exit_seconds: float) -> None:
        self._transport = transport
        self._stats = stats
        self._most = most_waiting
        self._exit_seconds = exit_seconds
        self.reset()
        _at_fork(self)
        _at_exit(self)

    def reset(self) -> None:
        """Begins anew: in a forked child, what waits is the parent's to send."""
        self._changed = threading.Condition()
        self._records: deque[bytes] = deque()
        self._errands: deque[Callable[[], None]] = deque()
        self._busy = False
        self._on_their_way = 0
        self._hurry = False
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        """Records that are not sent yet."""
        return len(self._records) + self._on_their_way

    def add(self, record: JSON) -> None:
        """Puts a record in the queue, or counts it as lost where the queue is full."""
        line = json.dumps(record, separators=(",", ":")).encode()
        with self._changed:
            if len(self._records) + self._on_their_way >= self._most:
                self._stats.dropped += 1
                if self._stats.dropped & (self._stats.dropped - 1) == 0:
                    log.error("keyward: %d records are lost, as %d wait", self._stats.dropped, self._most)
                return
            self._records.append(line)
            self._work()

    def errand(self, act: Callable[[], None]) -> None:
        """Has something done in the background, once, if fewer than 1,000 such wait."""
        with self._changed:
            if len(self._errands) < _MOST_ERRANDS:
                self._errands.append(act)
                self._work()

    def _work(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="keyward-records", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Waits until everything is sent, at most so many seconds; says whether it is."""
        until = time.monotonic() + timeout
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            while self._records or self._errands or self._busy:
                left = until - time.monotonic()
                if left <= 0 or self._thread is None:
                    break
                self._changed.wait(min(left, 0.1))
            self._hurry = False
            return not (self._records or self._errands or self._busy)

    def at_exit(self) -> None:
        """Sends what still waits, for a bounded time."""
        if not self.flush(self._exit_seconds) and self._records:
            log.error("keyward: %d records are lost, as the process ends", len(self._records))

    def _run(self) -> None:
        failures = 0
        while True:
            errand, lines = self._next(failures)
            try:
                if errand is not None:
                    errand()
                taken = self._send(lines) if lines else True
            except Exception:  # the thread must live: whatever it is, the batch is tried again
                log.exception("keyward: records could not be sent")
                taken = False
            with self._changed:
                self._busy, self._on_their_way = False, 0
                if not taken:
                    self._records.extendleft(reversed(lines))
                self._changed.notify_all()
            failures = 0 if taken else failures + 1

    def _next(self, failures: int) -> tuple[Callable[[], None] | None, list[bytes]]:
        with self._changed:
            if failures:
                pause = min(2.0 ** (failures - 1), _LONGEST_PAUSE) * (0.5 + random.random() / 2)
                self._changed.wait_for(lambda: self._hurry and failures < 3, 0.1 if self._hurry else pause)
            while not (self._records or self._errands):
                self._changed.wait()
            if len(self._records) < _BATCH and not self._hurry and not self._errands:
                self._changed.wait_for(lambda: self._hurry or len(self._records) >= _BATCH, _GATHER)
            self._busy = True
            errand = self._errands.popleft() if self._errands else None
            lines = [self._records.popleft() for _ in range(min(_BATCH, len(self._records)))]
            self._on_their_way = len(lines)
            return errand, lines

    def _send(self, lines: list[bytes]) -> bool:
        """Sends a batch; a second time is safe, as each record has its own request id."""
        body = b"\n".join(lines)
        try:
            answer = self._transport.call("POST", "/v1/record/batch", body, "application/x-ndjson", _TIMEOUT)
        except Answered as error:
            log.error("keyward: a batch of %d records: %s", len(lines), error)
            if error.status in _UNREADABLE:
                self._stats.rejected += len(lines)
                return True
            return False
        except Unanswered as error:
            log.warning("keyward: a batch of %d records: %s", len(lines), error)
            return False
        self._count(answer)
        return True

    def _count(self, answer: bytes) -> None:
        for line in answer.splitlines():
            item = json.loads(line) if line.strip() else None
            if item is None:
                continue
            if "allowed" in item:
                self._stats.sent += 1
            else:
                self._stats.rejected += 1
                log.error("keyward: a record is not taken: %s", item.get("detail"))


def _at_exit(reporter: Reporter) -> None:
    weak = weakref.ref(reporter)

    def send() -> None:
        alive = weak()
        if alive is not None:
            alive.at_exit()

    atexit.register(send)


def _at_fork(reporter: Reporter) -> None:
    weak = weakref.ref(reporter)

    def begin() -> None:
        alive = weak()
        if alive is not None:
            alive.reset()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=begin)
