"""What the sync and the async client share: the connections, the queue of records, and the bans that are known."""

from __future__ import annotations

import json
import logging
import os
import time
import uuid
import weakref
from urllib.parse import quote

from ._bans import Bans
from ._reporter import Reporter, Stats
from ._request import cut
from ._transport import Answered, Transport, Unanswered
from ._types import JSON, PASSING, Asked, Decision, refusal, without_keyward

log = logging.getLogger("keyward")

_JSON = "application/json"
#: Where a record or a question names no address.
_NOWHERE = "127.0.0.1"
_BOUNDS = {"endpoint": 2048, "model": 128, "user_agent": 1024, "user": 128}
_ERRAND_SECONDS = 5.0
#: Seconds in which a question that is asked again surely has the same reservation.
_REMEMBERED = 60.0
#: What a record says and a question does not.
_OF_RECORDS = ("user",)


class Core:
    """One Keyward as this process sees it. Safe to use from any thread."""

    def __init__(
        self, url: str, token: str | None, timeout: float, most_waiting: int, exit_seconds: float, watch_bans: bool
    ) -> None:
        self.transport = Transport(url, token)
        self.timeout = timeout
        self.stats = Stats()
        self.reporter = Reporter(self.transport, self.stats, most_waiting, exit_seconds)
        self.bans = Bans(self.transport)
        self._watch = watch_bans
        self._complained = 0.0
        _at_fork(self)

    def known(self, asked: Asked) -> Decision | None:
        """The refusal of a banned key, where it needs no call."""
        if self._watch:
            self.bans.follow()
        known = self.bans.known(asked.get("api_key"), asked.get("key_id"))
        if known is not None:
            self.stats.refused_by_cache += 1
        return known

    def ask(self, asked: Asked, reserve: bool, dispatched: bool, fail_open: bool) -> Decision:
        """What Keyward decides, or what is decided without it. Never raises."""
        started = time.monotonic()
        try:
            question = self._question(asked, reserve, dispatched)
            body = json.dumps(question).encode()
        except Exception as error:  # what is asked comes from a caller: it is no outage
            self._complain(f"a question that cannot be written is refused: {type(error).__name__}")
            return refusal("INVALID_REQUEST")
        self.stats.asked += 1
        try:
            answer = self.transport.call("POST", "/v1/check", body, _JSON, self.timeout)
            decision = Decision.of(json.loads(answer))
        except Answered as error:
            if not error.is_ours:
                self._complain(f"a question that it cannot read is refused: {error}")
                return refusal("INVALID_REQUEST")
            return self._without(str(error), fail_open)
        except Unanswered as error:
            if reserve and error.sent:
                self.reporter.errand(lambda: self._give_back_lost(question, started))
            return self._without(str(error), fail_open)
        except Exception as error:  # whatever it is, the application goes on
            return self._without(type(error).__name__, fail_open)
        self.bans.learn(asked.get("api_key"), decision, started)
        return decision

    def _question(self, asked: Asked, reserve: bool, dispatched: bool) -> JSON:
        question: JSON = {name: value for name, value in asked.items() if value is not None and name not in _OF_RECORDS}
        for name, most in _BOUNDS.items():
            if name in question:
                question[name] = cut(str(question[name]), most)
        question.setdefault("source_ip", _NOWHERE)
        question.setdefault("request_id", str(uuid.uuid4()))
        if reserve:
            question |= {"reserve": True, "dispatched": dispatched}
        return question

    def _without(self, why: str, fail_open: bool) -> Decision:
        self.stats.unanswered += 1
        self._complain(f"{why}; requests are {'let through' if fail_open else 'refused'}")
        return without_keyward(fail_open)

    def _complain(self, what: str) -> None:
        """Logs once a second at most."""
        now = time.monotonic()
        if now - self._complained >= 1:
            self._complained = now
            log.error("keyward: %s", what)

    def _give_back_lost(self, question: JSON, started: float) -> None:
        """Gives back what a question may hold whose answer never came: asked again, it has the same reservation."""
        if time.monotonic() > started + _REMEMBERED:
            return
        try:
            body = json.dumps(question).encode()
            answer = self.transport.call("POST", "/v1/check", body, _JSON, _ERRAND_SECONDS)
            self._delete(json.loads(answer).get("reservation_id"))
        except (Answered, Unanswered, ValueError) as error:
            log.debug("keyward: what a lost question may hold is left to its lease: %s", error)

    def give_back(self, reservation: str | None) -> None:
        """Gives a reservation back, in the background."""
        if reservation is not None:
            self.reporter.errand(lambda: self._delete(reservation))

    def _delete(self, reservation: str | None) -> None:
        self._reservation("DELETE", reservation, b"")

    def mark_dispatched(self, reservation: str | None) -> None:
        """Says that the request has left, in the background."""
        if reservation is not None:
            self.reporter.errand(lambda: self._reservation("PATCH", reservation, b'{"dispatched":true}'))

    def _reservation(self, method: str, reservation: str | None, body: bytes) -> None:
        if reservation is None:
            return
        try:
            path = f"/v1/reservations/{quote(reservation, safe='')}"
            self.transport.call(method, path, body, _JSON, _ERRAND_SECONDS)
        except (Answered, Unanswered) as error:
            log.warning("keyward: a reservation is left to its lease: %s", error)

    def report(self, record: JSON) -> None:
        """Puts a record in the queue."""
        for name, most in _BOUNDS.items():
            if name in record:
                record[name] = cut(str(record[name]), most)
        record.setdefault("source_ip", _NOWHERE)
        record["endpoint"] = record.get("endpoint") or "/"
        self.reporter.add(record)

    def close(self, timeout: float) -> bool:
        """Sends what waits and stops to follow bans; says whether everything was sent."""
        self.bans.end()
        return self.reporter.flush(timeout)


def _at_fork(core: Core) -> None:
    weak = weakref.ref(core)

    def begin() -> None:
        alive = weak()
        if alive is not None:
            alive.transport.reset()
            alive.bans.reset()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=begin)


class Backoff:
    """How long `acquire` waits between two questions: longer each time, no longer than is told or left."""

    _FIRST, _LONGEST = 0.1, 5.0

    def __init__(self, deadline: float) -> None:
        self._until = time.monotonic() + deadline
        self._next = self._FIRST

    def pause(self, refused: Decision, random: float) -> float | None:
        """Seconds to wait; None where the deadline comes first or waiting is no use. `random` is 0 to 1."""
        left = self._until - time.monotonic()
        hopeless = refused.reason not in PASSING or left <= 0
        # A limit that says nothing of when to come back has no room for the request, ever.
        if hopeless or (refused.retry_after is None and refused.by == "keyward"):
            return None
        pause = self._next * (0.5 + random / 2)
        self._next = min(self._next * 2, self._LONGEST)
        told = refused.retry_after if refused.retry_after is not None else self._LONGEST
        return min(pause, max(told, self._FIRST), left)
