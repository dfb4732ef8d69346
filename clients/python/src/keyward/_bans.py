"""Bans of keys as far as they are known here, fed by the event stream: a key whose ban is known costs no call."""

from __future__ import annotations

import hashlib
import http.client
import json
import logging
import math
import os
import random
import secrets
import threading
import time
from collections import OrderedDict
from datetime import datetime

from ._transport import Transport
from ._types import JSON, Decision

log = logging.getLogger("keyward")

_MOST_KEYS = 50_000
#: The stream says something at least every 15 seconds.
_SILENCE = 35.0
#: Seconds after which a known ban is asked about again, whatever the stream said.
_OLDEST = 600.0
#: After a lifting, an answer of an instance that has not heard of it is not kept for so many seconds.
_QUIET = 3.0
_REFUSED_PAUSE = 60.0
_LONGEST_LINE = 1 << 20


class Bans:
    """Which keys are banned. Knows keys by a hash with a secret of this process, and by their public id."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._salt = secrets.token_bytes(16)
        self.reset()

    def reset(self) -> None:
        """Forgets everything and follows no stream; a forked child begins so."""
        self._lock = threading.Lock()
        self._ids: OrderedDict[bytes, str] = OrderedDict()
        self._held: OrderedDict[str, tuple[float, float | None]] = OrderedDict()
        self._live = False
        self._lifted = -math.inf
        self._last: str | None = None
        self._thread: threading.Thread | None = None
        self._ended = False

    @property
    def live(self) -> bool:
        """Whether the stream is heard; nothing is answered from here while it is not."""
        return self._live

    def follow(self) -> None:
        """Follows the event stream in the background, from now on."""
        with self._lock:
            if self._thread is None and not self._ended:
                self._thread = threading.Thread(target=self._run, name="keyward-bans", daemon=True)
                self._thread.start()

    def end(self) -> None:
        """Stops to follow, and to answer."""
        self._ended, self._live = True, False

    def known(self, api_key: str | None, key_id: str | None) -> Decision | None:
        """The refusal of a key whose ban is known here."""
        if not self._live:
            return None
        now = time.time()
        with self._lock:
            name = key_id or self._ids.get(self._hash(api_key))
            held = self._held.get(name) if name else None
            if name is None or held is None:
                return None
            kept, until = held
            if now > kept + _OLDEST or (until is not None and now >= until):
                del self._held[name]
                return None
        left = None if until is None else max(1, round(until - now))
        action = "permanent_ban" if until is None else "temporary_ban"
        return Decision(False, "API_KEY_BANNED", action, left, name, by="cache")

    def learn(self, api_key: str | None, decision: Decision, asked_at: float) -> None:
        """Takes what an answer says: the public id of the key, and its ban. `asked_at` is of `time.monotonic`."""
        if decision.key_id is None or decision.by != "keyward":
            return
        with self._lock:
            if api_key:
                self._ids[self._hash(api_key)] = decision.key_id
                self._ids.move_to_end(self._hash(api_key))
                if len(self._ids) > _MOST_KEYS:
                    self._ids.popitem(last=False)
            if decision.reason == "API_KEY_BANNED" and not decision.degraded:
                after = decision.retry_after
                if self._live and asked_at > self._lifted + _QUIET:
                    self._hold(decision.key_id, None if after is None else time.time() + after)

    def hear(self, event: JSON) -> None:
        """Takes an event of the stream."""
        kind, subject = event.get("type"), str(event.get("subject", ""))
        if kind == "POLICY_CHANGED":
            with self._lock:
                self._held.clear()
                self._lifted = time.monotonic()
        if not subject.startswith("key:"):
            return
        key_id, evidence = subject[4:], event.get("evidence") or {}
        with self._lock:
            if kind in ("TEMPORARY_BAN", "PERMANENT_BAN") and not event.get("would"):
                if event.get("action") in ("temporary_ban", "permanent_ban"):
                    self._hold(key_id, _seconds(evidence.get("until")))
            elif kind in ("BAN_LIFTED", "BAN_EXPIRED", "SUBJECT_FORGOTTEN"):
                self._held.pop(key_id, None)
                self._lifted = time.monotonic()

    def _hold(self, key_id: str, until: float | None) -> None:
        self._held[key_id] = (time.time(), until)
        self._held.move_to_end(key_id)
        if len(self._held) > _MOST_KEYS:
            self._held.popitem(last=False)

    def _hash(self, api_key: str | None) -> bytes:
        return hashlib.blake2b((api_key or "").encode("utf-8", "replace"), key=self._salt, digest_size=16).digest()

    def _run(self) -> None:
        mine, pause = os.getpid(), 0.5
        while not self._ended and os.getpid() == mine:
            try:
                status = self._listen()
                pause = 0.5
            except (OSError, ValueError, http.client.HTTPException) as error:
                log.debug("keyward: the event stream ended (%s)", type(error).__name__)
                status, pause = 0, min(pause * 2, 30.0)
            finally:
                self._live = False
            if status in (401, 403, 404, 421):
                log.warning("keyward: no ban is known here: the event stream answers %d (its scope is read)", status)
                pause = _REFUSED_PAUSE
            elif status == 422:
                self._forget()
            time.sleep(pause * (0.5 + random.random() / 2))

    def _forget(self) -> None:
        """The log goes no longer back to where the stream ended: what was lifted meanwhile is not known."""
        with self._lock:
            self._held.clear()
            self._last = None

    def _listen(self) -> int:
        connection = self._transport.open(_SILENCE)
        try:
            more = {"last-event-id": self._last} if self._last else {}
            headers = self._transport.headers(accept="text/event-stream", **more)
            connection.request("GET", self._transport.path("/v1/events/stream"), headers=headers)
            answer = connection.getresponse()
            if answer.status != 200:
                return answer.status
            if self._last is None:
                self._forget()
            self._read(answer)
            return 200
        finally:
            connection.close()

    def _read(self, answer: http.client.HTTPResponse) -> None:
        data: list[bytes] = []
        name = ""
        while not self._ended:
            line = answer.readline(_LONGEST_LINE)
            if not line:
                return
            self._live = True
            field, _, value = line.rstrip(b"\r\n").partition(b":")
            value = value[1:] if value.startswith(b" ") else value
            if field == b"data":
                data.append(value)
            elif field == b"id":
                name = value.decode("ascii", "replace")
            elif not line.strip() and data:
                self.hear(json.loads(b"\n".join(data)))
                data, self._last = [], name or self._last


def _seconds(time_of_day: str | None) -> float | None:
    if time_of_day is None:
        return None
    return datetime.fromisoformat(time_of_day.replace("Z", "+00:00")).timestamp()
