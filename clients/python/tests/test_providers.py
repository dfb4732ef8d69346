"""The wrapped clients of OpenAI and Anthropic: what answers say is charged, and refusals are their own typed errors."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from conftest import Service
from provider import provider

from keyward import AsyncKeyward, Keyward
from keyward._usage import Meter
from keyward.anthropic import wrap as wrap_anthropic
from keyward.openai import wrap as wrap_openai

MESSAGES: Any = [{"role": "user", "content": "hi"}]
#: What the provider says that each answer used.
USED = 18


@pytest.fixture
def upstream() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    with provider() as found:
        yield found


@pytest.fixture
def chat(upstream: tuple[str, Any], client: Keyward, key: str) -> openai.OpenAI:
    made = openai.OpenAI(api_key="sk-of-the-application", base_url=upstream[0] + "/v1")
    return wrap_openai(made, client, api_key=key, source_ip="127.0.0.1")


@pytest.fixture
def claude(upstream: tuple[str, Any], client: Keyward, key: str) -> anthropic.Anthropic:
    made = anthropic.Anthropic(api_key="sk-ant-of-the-application", base_url=upstream[0])
    return wrap_anthropic(made, client, api_key=key, source_ip="127.0.0.1")


def test_a_plain_answer_is_charged_what_it_says(chat: openai.OpenAI, service: Service, key: str) -> None:
    answer = chat.chat.completions.create(model="gpt-4.1", messages=MESSAGES, max_tokens=100)
    assert answer.choices[0].message.content == "hello"
    service.settled(key, USED)
    usage = service.usage(key)
    assert (usage["input_tokens"], usage["output_tokens"], usage["models"]) == (11, 7, ["gpt-4.1"])


def test_a_stream_is_charged_what_it_says_and_has_no_event_that_nobody_asked_for(
    chat: openai.OpenAI, upstream: tuple[str, list[dict[str, Any]]], service: Service, key: str
) -> None:
    stream = chat.chat.completions.create(model="gpt-4.1", messages=MESSAGES, stream=True)
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "hello"
    assert upstream[1][0]["stream_options"] == {"include_usage": True}
    service.settled(key, USED)
    asked = chat.chat.completions.create(
        model="gpt-4.1", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    assert [chunk.usage.total_tokens for chunk in asked if chunk.usage] == [USED], "who asks for it gets it"
    service.settled(key, 2 * USED, requests=2)


def test_a_stream_that_is_not_read_to_its_end_is_charged_the_estimate(
    chat: openai.OpenAI, service: Service, key: str
) -> None:
    stream = chat.chat.completions.create(model="gpt-endless", messages=MESSAGES, stream=True, max_tokens=100)
    next(iter(stream))
    held = service.used(key)
    assert held > 100
    stream.close()
    service.settled(key, held)


def test_the_responses_api_is_charged_streamed_and_plain(chat: openai.OpenAI, service: Service, key: str) -> None:
    chat.responses.create(model="gpt-4.1", input="hi")
    service.settled(key, USED)
    for _ in chat.responses.create(model="gpt-4.1", input="hi", stream=True):
        pass
    service.settled(key, 2 * USED, requests=2)


def test_messages_of_anthropic_are_charged_with_their_cache(
    claude: anthropic.Anthropic, service: Service, key: str
) -> None:
    claude.messages.create(model="claude-sonnet-4-5", messages=MESSAGES, max_tokens=100)
    service.settled(key, USED)
    with claude.messages.stream(model="claude-sonnet-4-5", messages=MESSAGES, max_tokens=100) as stream:
        assert "".join(stream.text_stream) == "hello"
    service.settled(key, 2 * USED, requests=2)
    assert service.usage(key)["input_tokens"] == 22
    stream = claude.messages.create(model="claude-endless", messages=MESSAGES, max_tokens=100, stream=True)
    next(iter(stream))
    held = service.used(key) - 2 * USED
    stream.close()
    service.settled(key, 2 * USED + held, requests=3)


def test_a_refusal_is_the_error_that_the_clients_users_know(
    chat: openai.OpenAI, claude: anthropic.Anthropic, upstream: tuple[str, list[Any]], service: Service, key: str
) -> None:
    with pytest.raises(openai.RateLimitError) as limited:
        chat.chat.completions.create(model="gpt-4.1", messages=MESSAGES, max_tokens=20_000)
    assert limited.value.code == "RATE_LIMIT_EXCEEDED"
    with pytest.raises(anthropic.RateLimitError):
        claude.messages.create(model="claude-sonnet-4-5", messages=MESSAGES, max_tokens=20_000)
    service.ban(key)
    with pytest.raises(openai.PermissionDeniedError, match="banned"):
        chat.chat.completions.create(model="gpt-4.1", messages=MESSAGES)
    with pytest.raises(anthropic.PermissionDeniedError, match="banned"):
        claude.messages.create(model="claude-sonnet-4-5", messages=MESSAGES, max_tokens=10)
    assert upstream[1] == [], "the provider has heard of none of them"


def test_what_the_provider_refuses_is_free_and_what_it_fails_at_is_not(
    chat: openai.OpenAI, service: Service, key: str
) -> None:
    with pytest.raises(openai.BadRequestError):
        chat.chat.completions.create(model="invalid", messages=MESSAGES, max_tokens=100)
    service.settled(key, 0)
    with pytest.raises(openai.InternalServerError):
        chat.with_options(max_retries=0).chat.completions.create(model="broken", messages=MESSAGES, max_tokens=100)
    assert service.used(key) > 100


def test_a_provider_that_cannot_be_reached_has_used_nothing(client: Keyward, service: Service, key: str) -> None:
    nowhere = openai.OpenAI(api_key="sk-of-the-application", base_url="http://127.0.0.1:9/v1", max_retries=0)
    wrapped = wrap_openai(nowhere, client, api_key=key)
    with pytest.raises(openai.APIConnectionError):
        wrapped.chat.completions.create(model="gpt-4.1", messages=MESSAGES)
    assert client.flush(10)
    assert service.used(key) == 0


def test_what_asks_no_model_is_passed_on(chat: openai.OpenAI, service: Service, key: str) -> None:
    assert list(chat.models.list()) == []
    assert service.usage(key)["requests"] == 0


def test_the_loops_clients_do_the_same(
    upstream: tuple[str, Any], loop_client: AsyncKeyward, service: Service, key: str
) -> None:
    async def use() -> None:
        made = openai.AsyncOpenAI(api_key="sk-of-the-application", base_url=upstream[0] + "/v1")
        chat = wrap_openai(made, loop_client, api_key=key)
        await chat.chat.completions.create(model="gpt-4.1", messages=MESSAGES)
        stream = await chat.chat.completions.create(model="gpt-4.1", messages=MESSAGES, stream=True)
        assert [chunk.choices[0].delta.content async for chunk in stream] == ["hel", "lo"]
        claude = anthropic.AsyncAnthropic(api_key="sk-ant-of-the-application", base_url=upstream[0])
        wrapped = wrap_anthropic(claude, loop_client, api_key=key)
        async with wrapped.messages.stream(model="claude-sonnet-4-5", messages=MESSAGES, max_tokens=9) as messages:
            assert await messages.get_final_text() == "hello"
        with pytest.raises(anthropic.RateLimitError):
            await wrapped.messages.create(model="claude-sonnet-4-5", messages=MESSAGES, max_tokens=20_000)

    asyncio.run(use())
    service.settled(key, 3 * USED, requests=3)


def test_a_call_is_asked_about_whatever_its_model_is(chat: openai.OpenAI, service: Service, key: str) -> None:
    service.ban(key)
    for strange in ({"toString": 1}, 5, ""):
        body: Any = {"model": strange, "messages": MESSAGES, "seed": 10**400, "stream": True}
        with pytest.raises(openai.PermissionDeniedError):
            chat.chat.completions.create(**body)


@pytest.mark.parametrize(
    "strange",
    [
        b'{"usage": {"input_tokens": 1e400, "output_tokens": 1e400}}',
        b'{"usage": {"prompt_tokens": 1' + b"0" * 5_000 + b"}}",
        b'{"usage": ' + b"[" * 100_000,
        b'{"text": "' + b"x" * (2 << 20) + b'"}',
    ],
)
def test_an_answer_passes_whatever_is_in_it_and_what_cannot_be_read_counts_nothing(strange: bytes) -> None:
    event = b"data: " + strange + b"\n\n"
    for streamed, whole in ((True, event), (False, strange)):
        meter = Meter(streamed, drop_usage=True)
        parts = [meter.feed(whole[at : at + 65_536]) for at in range(0, len(whole), 65_536)]
        assert b"".join([*parts, meter.rest()]) == whole
        assert meter.used() is None


def test_a_client_needs_a_name_and_a_keyward_of_its_kind(client: Keyward, loop_client: AsyncKeyward) -> None:
    made = openai.OpenAI(api_key="sk-of-the-application")
    with pytest.raises(TypeError, match="key_id"):
        wrap_openai(made, client)
    with pytest.raises(TypeError, match="needs a Keyward"):
        wrap_openai(made, loop_client, key_id="team-a")
    with pytest.raises(TypeError, match="AsyncKeyward"):
        wrap_openai(openai.AsyncOpenAI(api_key="sk-of-the-application"), client, key_id="team-a")
