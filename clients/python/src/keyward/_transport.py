"""HTTP to Keyward over kept connections, each call with a deadline. Nothing but the standard library."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from urllib.parse import urlsplit

_MOST_IDLE = 32
_MOST_ANSWER = 16 << 20
#: A kept connection that ended meanwhile fails in one of these ways; the call is then made once more on a new one.
_STALE = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError, http.client.CannotSendRequest)


class Unanswered(Exception):
    """Keyward did not answer in time, or not at all. `sent` says whether the request may have reached it."""

    def __init__(self, why: str, sent: bool) -> None:
        super().__init__(why)
        self.sent = sent


class Answered(Exception):
    """Keyward answered with an error status. Its detail never repeats a value."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"it answered {status}: {detail}" if detail else f"it answered {status}")
        self.status = status

    @property
    def is_ours(self) -> bool:
        """Whether the operator's settings are wrong (token, scope, host), and not what a caller sent."""
        return self.status in (401, 403, 421) or self.status >= 500


class Transport:
    """Connections to one Keyward."""

    def __init__(self, url: str, token: str | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url: an http:// or https:// address such as http://127.0.0.1:8080 is needed")
        if parts.username or parts.password:
            raise ValueError("url: give the token as token=, and leave the address without a user")
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self._host, self._port = parts.hostname, parts.port
        self._base = parts.path.rstrip("/")
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._token = token
        self.reset()

    def reset(self) -> None:
        """Forgets all connections; a forked child calls it, whose parent still uses them."""
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []

    def open(self, timeout: float) -> http.client.HTTPConnection:
        """A connection that is not kept; `timeout` in seconds for each wait."""
        if self._tls is not None:
            return http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=self._tls)
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout)

    def headers(self, **more: str) -> dict[str, str]:
        """The headers of each call."""
        own = {"authorization": f"Bearer {self._token}"} if self._token else {}
        return {"user-agent": "keyward-python/0.1.0", **own, **more}

    def path(self, path: str) -> str:
        """The path on the server, which may be behind a prefix."""
        return self._base + path

    def call(self, method: str, path: str, body: bytes, media: str, timeout: float) -> bytes:
        """The body of a 2xx answer. Raises `Answered` for another status, `Unanswered` for none."""
        until = time.monotonic() + timeout
        with self._lock:
            kept = self._idle.pop() if self._idle else None
        if kept is not None:
            try:
                return self._try(kept, method, path, body, media, until)
            except _STALE:
                kept.close()
            except (OSError, http.client.HTTPException) as error:
                raise Unanswered(_why(error, timeout), sent=True) from None
        fresh = self.open(timeout)
        try:
            self._connect(fresh, until)
        except OSError as error:
            fresh.close()
            raise Unanswered(_why(error, timeout), sent=False) from None
        try:
            return self._try(fresh, method, path, body, media, until)
        except (OSError, http.client.HTTPException) as error:
            raise Unanswered(_why(error, timeout), sent=True) from None

    def _connect(self, connection: http.client.HTTPConnection, until: float) -> None:
        connection.timeout = _left(until)
        connection.connect()

    def _try(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes, media: str, until: float
    ) -> bytes:
        keep = False
        try:
            _hold_to(connection, until)
            connection.request(method, self.path(path), body, self.headers(**{"content-type": media}))
            _hold_to(connection, until)
            answer = connection.getresponse()
            _hold_to(connection, until)
            text = answer.read(_MOST_ANSWER)
            keep = answer.isclosed() and not answer.will_close
            if not 200 <= answer.status < 300:
                raise Answered(answer.status, _detail(text))
            return text
        finally:
            self._give_back(connection, keep)

    def _give_back(self, connection: http.client.HTTPConnection, keep: bool) -> None:
        with self._lock:
            if keep and len(self._idle) < _MOST_IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def __repr__(self) -> str:
        return f"Transport({self.origin!r})"


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _hold_to(connection: http.client.HTTPConnection, until: float) -> None:
    left = _left(until)
    if connection.sock is not None:
        connection.sock.settimeout(left)


def _why(error: BaseException, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:g} s"
    return f"no answer ({type(error).__name__})"


def _detail(text: bytes) -> str:
    try:
        return str(json.loads(text).get("detail", ""))[:500]
    except (ValueError, AttributeError):
        return ""
