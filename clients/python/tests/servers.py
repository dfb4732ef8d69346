"""Real servers for applications under test, and a plain client."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import uvicorn
from conftest import eventually


class _Threads(WSGIServer):
    def process_request(self, request: Any, client_address: Any) -> None:
        threading.Thread(target=self._serve, args=(request, client_address), daemon=True).start()

    def _serve(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except Exception:
            pass
        finally:
            self.shutdown_request(request)


class _Silent(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass

    def log_error(self, *_: Any) -> None:
        pass


@contextmanager
def asgi(app: Any) -> Iterator[int]:
    """An ASGI application in uvicorn; gives its port."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="auto", proxy_headers=False))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    eventually("uvicorn has started", lambda: server.started)
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join(10)


@contextmanager
def wsgi(app: Any) -> Iterator[int]:
    """A WSGI application in the server of the standard library; gives its port."""
    server = make_server("127.0.0.1", 0, app, _Threads, _Silent)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()


class Reply:
    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.status = answer.status
        self.headers = {name.lower(): value for name, value in answer.getheaders()}
        self.raw = answer.read()
        self.text = self.raw.decode("utf-8", "replace")

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = json.loads(self.text)["error"]
        return error

    def __repr__(self) -> str:
        return f"{self.status} {self.headers} {self.text[:200]}"


def ask(
    port: int, path: str = "/hello", *headers: tuple[str, str], body: bytes | None = None, method: str = ""
) -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.putrequest(method or ("POST" if body is not None else "GET"), path)
        connection.putheader("user-agent", "tests/1.0 (a, b)")
        for name, value in headers:
            connection.putheader(name, value.encode("latin-1"))
        if body is not None:
            connection.putheader("content-type", "application/json")
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        return Reply(connection.getresponse())
    finally:
        connection.close()


def leave(port: int, path: str, key: str, body: bytes, after: bytes | None = None) -> None:
    """Asks and goes away: at once where `after` is nothing, else when the answer has got so far."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        got = b""
        while after is not None and after not in got:
            part = connection.recv(4096)
            assert part, got
            got += part
        if after is None:
            eventually("the application has it", lambda: path in REACHED)


#: Paths that an application has seen of a request that it does not answer.
REACHED: set[str] = set()
