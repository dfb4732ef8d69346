"""The clients against the real Keyward: what is held, what is charged, what waits, and what is never said."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from conftest import Service, eventually

from keyward import AsyncKeyward, Decision, Estimate, Keyward, Refused
from keyward._core import Backoff

ASKED: dict[str, Any] = {"source_ip": "127.0.0.1", "endpoint": "/v1/chat/completions", "model": "gpt-4.1"}


def test_a_check_says_whether_a_request_may_be_made_and_holds_nothing(
    client: Keyward, service: Service, key: str
) -> None:
    decision = client.check(api_key=key, estimated_tokens=500, **ASKED)
    assert (decision.allowed, decision.status, decision.by) == (True, 200, "keyward")
    assert service.used(key) == 0
    service.ban(key)
    decision = client.check(api_key=key, **ASKED)
    assert (decision.allowed, decision.status, decision.reason) == (False, 403, "API_KEY_BANNED")


def test_what_a_block_used_is_charged_and_the_rest_is_given_back(client: Keyward, service: Service, key: str) -> None:
    with client.reserve(api_key=key, estimated_input_tokens=100, estimated_output_tokens=400, **ASKED) as hold:
        assert service.used(key) == 500
        hold.used(prompt_tokens=80, completion_tokens=20)
    service.settled(key, 100)
    assert service.usage(key)["rows"][0]["output_tokens"] == 20


def test_a_block_that_fails_or_breaks_off_or_says_nothing_is_charged_the_estimate(
    client: Keyward, service: Service, key: str
) -> None:
    for error in (ValueError, KeyboardInterrupt, GeneratorExit):
        with pytest.raises(error), client.reserve(api_key=key, estimated_tokens=100, **ASKED):
            raise error
    with client.reserve(api_key=key, estimated_tokens=100, **ASKED):
        pass
    service.settled(key, 400, requests=4)


def test_a_stream_that_nobody_reads_to_its_end_is_charged_the_estimate(
    client: Keyward, service: Service, key: str
) -> None:
    def stream() -> Any:
        with client.reserve(api_key=key, estimated_tokens=300, **ASKED) as hold:
            yield "a"
            yield "b"
            hold.used(2)

    parts = stream()
    assert next(parts) == "a"
    parts.close()
    service.settled(key, 300)
    assert list(stream()) == ["a", "b"]
    service.settled(key, 302, requests=2)


def test_what_never_left_is_given_back_and_what_was_dispatched_is_not(
    client: Keyward, service: Service, key: str
) -> None:
    with pytest.raises(ValueError), client.reserve(api_key=key, estimated_tokens=500, dispatched=False, **ASKED):
        raise ValueError
    eventually("it is given back", lambda: service.used(key) == 0)
    client.reserve(api_key=key, estimated_tokens=500, **ASKED).release()
    assert client.flush(10)
    assert service.used(key) == 0
    with (
        pytest.raises(ValueError),
        client.reserve(api_key=key, estimated_tokens=500, dispatched=False, **ASKED) as hold,
    ):
        hold.dispatch()
        raise ValueError
    service.settled(key, 500)


def test_what_is_held_is_charged_where_the_process_ends_before_it_settles(
    client: Keyward, service: Service, key: str
) -> None:
    client.reserve(api_key=key, estimated_tokens=50, lease_seconds=1, **ASKED)
    service.settled(key, 50)


def test_a_refused_reservation_raises_and_says_when_to_come_back(client: Keyward, service: Service, key: str) -> None:
    with pytest.raises(Refused) as refused:
        client.reserve(api_key=key, estimated_tokens=10_001, **ASKED)
    assert refused.value.decision.status == 429
    assert key not in str(refused.value)


def test_a_request_waits_until_there_is_room(client: Keyward, service: Service, key: str) -> None:
    first = client.reserve(api_key=key, estimated_tokens=9_000, **ASKED)

    def make_room() -> None:
        eventually("it was refused twice", lambda: client.stats.asked >= 3)
        first.release()

    room = threading.Thread(target=make_room)
    room.start()
    with client.acquire(api_key=key, deadline=60, estimated_tokens=9_000, **ASKED) as hold:
        hold.used(5)
    room.join()
    service.settled(key, 5)


def test_waiting_ends_at_the_deadline_and_at_once_where_it_is_no_use(
    client: Keyward, service: Service, key: str
) -> None:
    with client.reserve(api_key=key, estimated_tokens=9_000, **ASKED) as hold:
        with pytest.raises(Refused, match="RATE_LIMIT_EXCEEDED"):
            client.acquire(api_key=key, deadline=3, estimated_tokens=9_000, **ASKED)
        hold.used(0)
    assert client.stats.asked >= 3, "it has asked more than once"
    service.ban(key)
    before = client.stats.asked
    with pytest.raises(Refused, match="API_KEY_BANNED"):
        client.acquire(api_key=key, deadline=60, **ASKED)
    assert client.stats.asked == before + 1


def test_pauses_grow_and_are_never_longer_than_what_is_told_or_left() -> None:
    backoff = Backoff(deadline=1000)
    limited = Decision(False, "RATE_LIMIT_EXCEEDED", retry_after=3)
    pauses = [backoff.pause(limited, 1.0) for _ in range(8)]
    assert [round(pause or 0, 1) for pause in pauses] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 3.0, 3.0]
    assert Backoff(1000).pause(Decision(False, "RATE_LIMIT_EXCEEDED"), 1.0) is None, "it is larger than the limit"
    assert Backoff(0).pause(limited, 1.0) is None
    assert (Backoff(0.05).pause(limited, 1.0) or 1) <= 0.05


def test_the_loop_does_the_same(loop_client: AsyncKeyward, service: Service, key: str) -> None:
    async def use() -> None:
        assert (await loop_client.check(api_key=key, **ASKED)).allowed
        async with loop_client.reserve(api_key=key, estimated_tokens=500, **ASKED) as hold:
            hold.used(prompt_tokens=10)
        hold = await loop_client.reserve(api_key=key, estimated_tokens=500, **ASKED)
        with hold:
            hold.used(completion_tokens=20)
        with pytest.raises(Refused):
            await loop_client.reserve(api_key=key, estimated_tokens=10_001, **ASKED)
        waiting = loop_client.acquire(api_key=key, deadline=20, estimated_tokens=9_900, **ASKED)
        async with await loop_client.reserve(api_key=key, estimated_tokens=200, **ASKED) as first:
            later = asyncio.ensure_future(waiting._reserve())
            asked = loop_client.stats.asked
            while loop_client.stats.asked < asked + 2:
                await asyncio.sleep(0.01)
            assert not later.done()
            first.used(1)
        (await later).used(2)
        (await later).settle()
        assert await loop_client.flush(10)

    asyncio.run(use())
    service.settled(key, 33, requests=4)


def test_a_task_that_is_cancelled_is_charged_the_estimate(
    loop_client: AsyncKeyward, service: Service, key: str
) -> None:
    async def use() -> None:
        started = asyncio.Event()

        async def ask() -> None:
            async with loop_client.reserve(api_key=key, estimated_tokens=70, **ASKED):
                started.set()
                await asyncio.Event().wait()

        task = asyncio.ensure_future(ask())
        await started.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(use())
    service.settled(key, 70)


class Late:
    """A Keyward whose answers arrive late: it passes bytes on, and keeps answers back until it is told."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.release = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._port))
            threading.Thread(target=self._pass, args=(near, far, False), daemon=True).start()
            threading.Thread(target=self._pass, args=(far, near, True), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, keep: bool) -> None:
        try:
            while data := source.recv(65536):
                if keep:
                    self.release.wait(30)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self) -> None:
        self._listener.close()


def test_an_answer_that_comes_too_late_holds_nothing(service: Service, key: str) -> None:
    late = Late(service.port)
    with Keyward(late.url, timeout=0.3, watch_bans=False) as client:
        with client.reserve(api_key=key, estimated_tokens=1_000, **ASKED) as hold:
            assert (hold.decision.degraded, hold.decision.by) == (True, "client")
            eventually("it is held all the same", lambda: service.used(key) == 1_000)
            hold.used(7)
        late.release.set()
        service.settled(key, 7)
        assert client.stats.unanswered == 1
    late.close()


def test_without_keyward_a_question_is_answered_as_it_is_told_and_never_raises(own_service: Service, key: str) -> None:
    client = Keyward(own_service.url, timeout=1, watch_bans=False)
    own_service.kill()
    assert client.check(api_key=key, **ASKED).allowed
    closed = client.check(api_key=key, fail_open=False, **ASKED)
    assert (closed.allowed, closed.status, closed.reason) == (False, 503, "STORE_UNAVAILABLE")
    with client.reserve(api_key=key, estimated_tokens=40, **ASKED):
        pass
    client.record(api_key=key, endpoint="/", source_ip="127.0.0.1", tokens_used=2)
    own_service.start()
    assert client.flush(20), "what waited is sent"
    own_service.settled(key, 42, requests=2)
    client.close()


def test_what_keyward_cannot_read_is_refused_even_where_it_fails_open(client: Keyward) -> None:
    decision = client.check(api_key="two words", **ASKED)
    assert (decision.allowed, decision.status, decision.reason) == (False, 403, "INVALID_REQUEST")


def test_a_question_that_cannot_be_written_is_refused_even_where_it_fails_open(client: Keyward, key: str) -> None:
    circle: list[Any] = []
    circle.append(circle)
    decision = client.check(api_key=key, project_id=circle, fail_open=True, **ASKED)  # type: ignore[arg-type]
    assert (decision.allowed, decision.reason) == (False, "INVALID_REQUEST")
    assert client.stats.unanswered == 0


def test_questions_and_records_name_the_program_of_the_client_within_bounds(
    service: Service, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Keyward(service.url, timeout=10, watch_bans=False)
    sent: list[Any] = []
    call = client.core.transport.call

    def listening(method: str, path: str, body: bytes, *rest: Any) -> Any:
        sent.append((path, body))
        return call(method, path, body, *rest)

    monkeypatch.setattr(client.core.transport, "call", listening)
    for agent in ("openai-python/3.57.0", "\u00e9" * 600, ""):
        sent.clear()
        with client.reserve(api_key=key, user_agent=agent, user="ada", **ASKED):
            pass
        assert client.flush(10)
        assert [path for path, _ in sent] == ["/v1/check", "/v1/record/batch"]
        question, record = (json.loads(body) for _, body in sent)
        record = record[0] if isinstance(record, list) else record
        assert question["user_agent"] == record["user_agent"] == agent[:512]
        assert (question.get("user"), record["user"]) == (None, "ada"), "a question has no end user"
    assert (client.stats.rejected, client.stats.unanswered) == (0, 0)
    assert client.close(10)


def test_a_wrong_token_is_the_operators_mistake_and_not_the_callers(
    own_service: Service, key: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own_service.kill()
    token = '[[auth.tokens]]\nid = "a"\nhash = "%s"\nscopes = ["record"]\n' % ("0" * 64)
    (tmp_path / "keyward.toml").write_text(token)
    own_service.start()
    client = Keyward(own_service.url, token="kw_wrong.secret", timeout=5)
    assert client.check(api_key=key, **ASKED).allowed
    assert not client.check(api_key=key, fail_open=False, **ASKED).allowed
    assert "answered 401" in caplog.text
    assert "secret" not in caplog.text and key not in caplog.text
    client.core.bans.end()


def test_records_beyond_the_bound_are_counted_as_lost(own_service: Service, key: str) -> None:
    client = Keyward(own_service.url, max_waiting=5, watch_bans=False, exit_seconds=0)
    own_service.kill()
    for _ in range(20):
        client.record(api_key=key, endpoint="/", source_ip="127.0.0.1")
    assert (client.waiting, client.stats.dropped) == (5, 15)
    assert not client.flush(0.1)


def test_a_record_that_is_not_taken_is_counted_and_spoils_no_other(
    client: Keyward, service: Service, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        client.record(api_key=key, endpoint="/", source_ip="nowhere", tokens_used=1)
        client.record(api_key=key, endpoint="/", source_ip="127.0.0.1", tokens_used=2)
        assert client.flush(10)
    assert (client.stats.rejected, client.stats.sent) == (1, 1)
    assert key not in caplog.text
    service.settled(key, 2)


def test_a_record_with_a_field_that_does_not_exist_is_a_mistake_of_the_caller(client: Keyward) -> None:
    with pytest.raises(TypeError, match="tokens"):
        client.record(api_key="k", tokens=1)  # type: ignore[call-arg]


def test_what_waits_is_sent_when_the_process_ends(service: Service, key: str) -> None:
    script = (
        "import sys, keyward\n"
        "client = keyward.Keyward(sys.argv[1], exit_seconds=20)\n"
        "for _ in range(300): client.record(api_key=sys.argv[2], endpoint='/', source_ip='127.0.0.1', tokens_used=1)\n"
    )
    subprocess.run([sys.executable, "-c", script, service.url, key], check=True, timeout=60)
    service.settled(key, 300, requests=300)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_has_a_queue_of_its_own(service: Service, key: str) -> None:
    script = (
        "import os, sys, keyward\n"
        "client = keyward.Keyward(sys.argv[1], timeout=10, exit_seconds=20)\n"
        "ask = lambda: client.reserve(api_key=sys.argv[2], source_ip='127.0.0.1', endpoint='/', estimated_tokens=9)\n"
        "with ask() as hold: hold.used(1)\n"
        "child = os.fork()\n"
        "with ask() as hold: hold.used(1)\n"
        "if child: os.waitpid(child, 0)\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", script, service.url, key], check=True, timeout=60)
    service.settled(key, 3, requests=3)


def test_no_secret_is_shown(service: Service, key: str) -> None:
    client = Keyward(service.url, token="kw_id.secret", watch_bans=False)
    loop = AsyncKeyward(service.url, token="kw_id.secret", watch_bans=False)
    asked = {"api_key": key, **ASKED}
    hold = Keyward(service.url, timeout=10, watch_bans=False).reserve(**asked)
    for shown in (repr(client), repr(loop), repr(hold), repr(client.core.transport), str(hold.decision)):
        assert "secret" not in shown and key not in shown
    hold.release()
    with pytest.raises(ValueError, match="token="):
        Keyward("http://user:secret@127.0.0.1:1")
    with pytest.raises(ValueError, match="http"):
        Keyward("127.0.0.1:8080")


def test_an_estimate_has_both_kinds_of_tokens() -> None:
    assert Estimate(2, 3, "gpt-4.1").tokens == 5
