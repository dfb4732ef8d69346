"""A small provider with the shapes of OpenAI and Anthropic. The model's name says how an answer goes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CHAT = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
MESSAGE = {"input_tokens": 5, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 2, "output_tokens": 1}
RESPONSE = {
    "input_tokens": 11, "output_tokens": 7, "total_tokens": 18,
    "input_tokens_details": {"cached_tokens": 3}, "output_tokens_details": {"reasoning_tokens": 2},
}  # fmt: skip


def chat(model: str, delta: bool, content: str | None, finish: str | None) -> dict[str, Any]:
    part = {"delta" if delta else "message": {"role": "assistant", "content": content}}
    return {
        "id": "chat-1", "object": "chat.completion.chunk" if delta else "chat.completion", "created": 1, "model": model,
        "choices": [{"index": 0, "finish_reason": finish, **part}],
    }  # fmt: skip


class Provider(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: list[dict[str, Any]]

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._whole({"object": "list", "data": []})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.seen.append(asked)
        model = asked["model"]
        if "invalid" in model or "broken" in model:
            status = 400 if "invalid" in model else 500
            return self._whole({"error": {"message": "as asked", "type": "invalid_request_error"}}, status)
        if self.path.endswith("/messages"):
            return (
                self._stream(self._message(model)) if asked.get("stream") else self._whole(self._plain_message(model))
            )
        if self.path.endswith("/responses"):
            return (
                self._stream(self._response(model)) if asked.get("stream") else self._whole(self._plain_response(model))
            )
        if asked.get("stream"):
            return self._stream(self._chunks(asked))
        self._whole({**chat(model, False, "hello", "stop"), "usage": CHAT})

    def _plain_message(self, model: str) -> dict[str, Any]:
        return {
            "id": "msg-1",
            "type": "message",
            "role": "assistant",
            "model": model,
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "content": [{"type": "text", "text": "hello"}],
            "usage": {**MESSAGE, "output_tokens": 7},
        }

    def _plain_response(self, model: str) -> dict[str, Any]:
        return {
            "id": "resp-1", "object": "response", "created_at": 1, "model": model, "status": "completed", "output": [],
            "usage": RESPONSE, "parallel_tool_calls": False, "tool_choice": "auto", "tools": [],
        }  # fmt: skip

    def _chunks(self, asked: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        model = asked["model"]
        yield "", chat(model, True, "hel", None)
        while "endless" in model:
            yield "", chat(model, True, "l", None)
        yield "", chat(model, True, "lo", "stop")
        if (asked.get("stream_options") or {}).get("include_usage"):
            yield "", {**chat(model, True, None, None), "choices": [], "usage": CHAT}
        yield "", "[DONE]"

    def _message(self, model: str) -> Iterator[tuple[str, Any]]:
        start = {**self._plain_message(model), "content": [], "stop_reason": None, "usage": MESSAGE}
        yield "message_start", {"type": "message_start", "message": start}
        yield (
            "content_block_start",
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        )
        while True:
            yield (
                "content_block_delta",
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hello"}},
            )
            if "endless" not in model:
                break
        yield "content_block_stop", {"type": "content_block_stop", "index": 0}
        delta = {"stop_reason": "end_turn", "stop_sequence": None}
        yield "message_delta", {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 7}}
        yield "message_stop", {"type": "message_stop"}

    def _response(self, model: str) -> Iterator[tuple[str, Any]]:
        whole = self._plain_response(model)
        yield (
            "response.created",
            {"type": "response.created", "sequence_number": 0, "response": {**whole, "usage": None}},
        )
        yield "response.completed", {"type": "response.completed", "sequence_number": 1, "response": whole}

    def _whole(self, answer: dict[str, Any], status: int = 200) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, events: Iterator[tuple[str, Any]]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            for kind, data in events:
                text = data if isinstance(data, str) else json.dumps(data)
                line = (f"event: {kind}\n" if kind else "") + f"data: {text}\n\n"
                # Cut in the middle, as networks cut.
                for part in (line[: len(line) // 2], line[len(line) // 2 :]):
                    self.wfile.write(part.encode())
                    self.wfile.flush()
                time.sleep(0.002)
        except OSError:
            pass


@contextmanager
def provider() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Its address, and what it was asked."""
    seen: list[dict[str, Any]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Provider,), {"seen": seen}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
