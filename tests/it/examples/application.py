"""The application behind the example for Python. The query of a request says how it goes: see application.rs."""

import os
import pathlib

from keyward import Keyward


async def application(scope, receive, send):
    message = {"more_body": True}
    while message.get("more_body"):
        message = await receive()
    mood = scope["query_string"]
    if mood == b"count":
        scope["tokens_used"] = 7
    if mood == b"fail":
        raise RuntimeError("as asked")
    if mood == b"hang":
        pathlib.Path("hanging").touch()
        while message["type"] != "http.disconnect":
            message = await receive()
        return
    await send({"type": "http.response.start", "status": 422 if mood == b"invalid" else 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello", "more_body": mood == b"stream"})
    while mood == b"stream" and message["type"] != "http.disconnect":
        message = await receive()


app = Keyward(application, fail_open=os.environ["FAIL_OPEN"] == "true")
