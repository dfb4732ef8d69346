"""The same application for each framework. The query says how a request goes: see `answer`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from servers import REACHED

from keyward.asgi import KeywardMiddleware as Asgi
from keyward.wsgi import KeywardMiddleware as Wsgi

#: The header says 7; `handle` tells 9 by the handle.
MOODS = ("count", "handle", "invalid", "fail", "stream", "hang", "echo")


def plain_asgi(**options: Any) -> Any:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        body, message = b"", {"more_body": True}
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        mood = scope["query_string"].decode()
        if mood == "fail":
            raise RuntimeError("as asked")
        if mood == "hang":
            REACHED.add(f"{scope['path']}?hang")
            while message["type"] != "http.disconnect":
                message = await receive()
            return
        if mood == "handle":
            scope["keyward"].used(prompt_tokens=4, completion_tokens=5)
        headers = [(b"X-Tokens-Used", b"7")] if mood == "count" else []
        await send({"type": "http.response.start", "status": 422 if mood == "invalid" else 200, "headers": headers})
        text = body if mood == "echo" else b"hello"
        await send({"type": "http.response.body", "body": text, "more_body": mood == "stream"})
        while mood == "stream" and message["type"] != "http.disconnect":
            message = await receive()

    return Asgi(application, **options)


def fastapi(**options: Any) -> Any:
    app = FastAPI()

    @app.api_route("/{path:path}", methods=["GET", "POST"])
    async def answer(request: Request) -> Response:
        body, mood = await request.body(), request.url.query
        if mood == "fail":
            raise RuntimeError("as asked")
        if mood == "hang":
            REACHED.add(f"{request.url.path}?hang")
            while not await request.is_disconnected():
                await asyncio.sleep(0.01)
            return Response()
        if mood == "handle":
            request.scope["keyward"].used(prompt_tokens=4, completion_tokens=5)
        if mood == "stream":
            return StreamingResponse(_parts())
        headers = {"X-Tokens-Used": "7"} if mood == "count" else {}
        text = body if mood == "echo" else b"hello"
        return Response(text, 422 if mood == "invalid" else 200, headers)

    app.add_middleware(Asgi, **options)
    return app


async def _parts() -> AsyncIterator[bytes]:
    while True:
        yield b"hello"
        await asyncio.sleep(0.01)


def _stream() -> Iterator[bytes]:
    while True:
        yield b"hello" * 1000
        time.sleep(0.005)


def flask(**options: Any) -> Any:
    import flask

    app = flask.Flask(__name__)

    @app.route("/", defaults={"path": ""}, methods=["GET", "POST"])
    @app.route("/<path:path>", methods=["GET", "POST"])
    def answer(path: str) -> Any:
        body, mood = flask.request.get_data(), flask.request.query_string.decode()
        if mood == "fail":
            raise RuntimeError("as asked")
        if mood == "handle":
            flask.request.environ["keyward"].used(prompt_tokens=4, completion_tokens=5)
        if mood == "stream":
            return flask.Response(_stream())
        headers = {"X-Tokens-Used": "7"} if mood == "count" else {}
        return flask.Response(body if mood == "echo" else b"hello", 422 if mood == "invalid" else 200, headers)

    app.wsgi_app = Wsgi(app.wsgi_app, **options)  # type: ignore[method-assign]
    return app


def plain_wsgi(**options: Any) -> Any:
    def application(environ: Any, start_response: Any) -> Any:
        body, mood = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)), environ["QUERY_STRING"]
        if mood == "fail":
            raise RuntimeError("as asked")
        if mood == "handle":
            environ["keyward"].used(prompt_tokens=4, completion_tokens=5)
        headers = [("X-Tokens-Used", "7")] if mood == "count" else []
        start_response("422 Unprocessable" if mood == "invalid" else "200 OK", headers)
        return _stream() if mood == "stream" else [body if mood == "echo" else b"hello"]

    return Wsgi(application, **options)


def _django() -> None:
    import django
    from django.conf import settings
    from django.http import HttpResponse, StreamingHttpResponse
    from django.urls import re_path

    if settings.configured:
        return

    def answer(request: Any) -> Any:
        body, mood = request.body, request.META.get("QUERY_STRING", "")
        if mood == "fail":
            raise RuntimeError("as asked")
        handle = request.scope["keyward"] if hasattr(request, "scope") else request.META["keyward"]
        if mood == "handle":
            handle.used(prompt_tokens=4, completion_tokens=5)
        if mood == "stream":
            return StreamingHttpResponse(_parts() if hasattr(request, "scope") else _stream())
        headers = {"X-Tokens-Used": "7"} if mood == "count" else {}
        return HttpResponse(
            body if mood == "echo" else b"hello", status=422 if mood == "invalid" else 200, headers=headers
        )

    settings.configure(
        SECRET_KEY="of-a-test", ROOT_URLCONF=(re_path("", answer),), ALLOWED_HOSTS=["*"], LOGGING_CONFIG=None
    )
    django.setup()


def django_wsgi(**options: Any) -> Any:
    from django.core.wsgi import get_wsgi_application

    _django()
    return Wsgi(get_wsgi_application(), **options)


def django_asgi(**options: Any) -> Any:
    from django.core.asgi import get_asgi_application

    _django()
    return Asgi(get_asgi_application(), **options)
