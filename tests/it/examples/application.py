"""The application behind the example for Python. The query of a request says how it goes: see application.rs."""

import pathlib


async def app(scope, receive, send):
    message = {"more_body": True}
    while message.get("more_body"):
        message = await receive()
    mood = scope["query_string"]
    if mood == b"fail":
        raise RuntimeError("as asked")
    if mood == b"hang":
        pathlib.Path("hanging").touch()
        while message["type"] != "http.disconnect":
            message = await receive()
        return
    headers = [(b"x-tokens-used", b"7")] if mood == b"count" else []
    await send({"type": "http.response.start", "status": 422 if mood == b"invalid" else 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello", "more_body": mood == b"stream"})
    while mood == b"stream" and message["type"] != "http.disconnect":
        message = await receive()
