"""The SDKs for Python through the gateway: each case prints its name, and the first that fails ends the program."""

import asyncio
import os
import sys
import time

import anthropic
import openai

URL, KEY, BANNED, POOR = (os.environ[name] for name in ("GATEWAY", "KEY", "BANNED", "POOR"))
CLAUDE = "claude-sonnet-4-5"


def case(name):
    print(name, flush=True)


def raises(kind, call):
    try:
        call()
    except kind as error:
        assert type(error) is kind or kind in (openai.APIError, anthropic.APIError), (kind, type(error))
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


def talk(text):
    return [{"role": "user", "content": text}]


def of_openai(key=KEY, **more):
    return openai.OpenAI(base_url=URL + "/v1", api_key=key, **more)


def of_anthropic(key=KEY, **more):
    return anthropic.Anthropic(base_url=URL, api_key=key, **more)


def openai_answers():
    client = of_openai()
    chat = client.chat.completions
    answer = chat.create(model="gpt-4.1", max_tokens=20, messages=talk("[mock input=30 output=7]"))
    assert answer.usage.prompt_tokens == 30 and answer.usage.completion_tokens == 7, answer
    assert answer.choices[0].message.content.startswith("word"), answer
    case("openai chat")
    raw = chat.with_raw_response.create(model="gpt-4.1", max_tokens=20, messages=talk("[mock input=30 output=7]"))
    assert raw.headers["x-cost-usd"] == "0.000116", raw.headers
    assert raw.headers["x-keyward-request-id"], raw.headers
    case("openai headers")
    chunks = list(chat.create(model="gpt-4.1", stream=True, messages=talk("[mock output=7]")))
    # A plain loop over choices, which a chunk of usage that nobody asked for would break.
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text.startswith("word") and "wörd" in text, text
    case("openai stream")
    options = {"include_usage": True}
    chunks = list(chat.create(model="gpt-4.1", stream=True, stream_options=options, messages=talk("[mock output=7]")))
    assert chunks[-1].usage.completion_tokens == 7 and not chunks[-1].choices, chunks[-1]
    case("openai stream with usage")
    answer = client.responses.create(model="gpt-4.1", input="[mock output=7]")
    assert answer.output_text.startswith("word") and answer.usage.output_tokens == 7, answer
    case("openai responses")
    events = list(client.responses.create(model="gpt-4.1", input="[mock output=7]", stream=True))
    assert events[-1].type == "response.completed" and events[-1].response.usage.output_tokens == 7, events[-1]
    case("openai responses stream")
    answer = client.embeddings.create(model="text-embedding-3-small", input="[mock input=9]")
    assert answer.data[0].embedding == [0.25, -0.5, 0.75] and answer.usage.prompt_tokens == 9, answer
    case("openai embeddings")
    answer = client.completions.create(model="gpt-4.1", prompt="[mock output=7]", max_tokens=9)
    assert answer.choices[0].text.startswith("word") and answer.usage.completion_tokens == 7, answer
    case("openai completions")
    chunks = list(client.completions.create(model="gpt-4.1", prompt="[mock output=7]", max_tokens=9, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks).startswith("word"), chunks
    case("openai completions stream")
    assert [model.id for model in client.models.list()] == ["batch"]
    case("openai models")


def openai_errors():
    client = of_openai()
    chat = client.chat.completions
    create = lambda client, text, **more: lambda: client.chat.completions.create(
        **{"model": "gpt-4.1", "messages": talk(text), **more}
    )
    error = raises(openai.AuthenticationError, create(of_openai("kwk_nobody-knows-it"), "hi"))
    assert error.code == "invalid_api_key", error
    case("openai unknown key")
    began = time.monotonic()
    error = raises(openai.PermissionDeniedError, create(of_openai(BANNED), "hi"))
    assert error.code == "api_key_banned", error
    case("openai banned key")
    error = raises(openai.RateLimitError, create(of_openai(POOR), "hi"))
    assert error.code == "insufficient_quota" and time.monotonic() - began < 5, error
    case("openai budget, without retries")
    error = raises(openai.NotFoundError, create(client, "hi", model="nobody-serves-it"))
    assert error.code == "model_not_found", error
    case("openai unknown model")
    raises(openai.BadRequestError, create(client, "hi", max_tokens=-1))
    case("openai bad request")
    error = raises(openai.BadRequestError, create(client, "word " * 2000, model="small"))
    assert error.code == "context_length_exceeded", error
    case("openai context length")
    raises(openai.NotFoundError, lambda: client.images.generate(model="gpt-image-1", prompt="x"))
    case("openai unmetered interface")
    raises(openai.UnprocessableEntityError, create(client, "[mock status=422]"))
    case("openai provider's error")
    raises(openai.RateLimitError, create(client.with_options(max_retries=0), "[mock status=429 retry_after=60]"))
    case("openai provider's limit")
    raises(openai.InternalServerError, create(client.with_options(max_retries=0), "[mock status=401]"))
    case("openai provider refuses our key")
    for name, text in [("cut", "[mock cut=5 events=20]"), ("failing", "[mock error_after=3]")]:
        stream = chat.create(model="gpt-4.1", stream=True, messages=talk(text))
        raises(openai.APIError, lambda: list(stream))
        case(f"openai {name} stream")
    stream = client.responses.create(model="gpt-4.1", input="[mock cut=5 events=20]", stream=True)
    raises(openai.APIError, lambda: list(stream))
    case("openai cut responses stream")
    impatient = client.with_options(timeout=0.5, max_retries=0)
    raises(openai.APITimeoutError, create(impatient, "[mock delay_ms=60000]"))
    case("openai timeout")
    stream = chat.create(model="gpt-4.1", stream=True, messages=talk("[mock events=2000 event_delay_ms=20]"))
    next(iter(stream))
    stream.close()
    case("openai cancel")


def anthropic_answers():
    client = of_anthropic()
    create = client.messages.create
    answer = create(model=CLAUDE, max_tokens=20, messages=talk("[mock input=30 output=7 cached=10 cache_write_1h=5]"))
    usage = answer.usage
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens) == (15, 7, 10), usage
    case("anthropic message")
    raw = client.messages.with_raw_response.create(
        model=CLAUDE, max_tokens=20, messages=talk("[mock input=30 output=7]")
    )
    assert raw.headers["x-cost-usd"] == "0.000195", raw.headers
    case("anthropic headers")
    events = list(create(model=CLAUDE, max_tokens=20, stream=True, messages=talk("[mock output=7]")))
    assert events[0].type == "message_start" and events[-1].type == "message_stop", events
    case("anthropic stream")
    with client.messages.stream(model=CLAUDE, max_tokens=20, messages=talk("[mock output=7]")) as stream:
        text = "".join(stream.text_stream)
        assert text.startswith("word") and stream.get_final_message().usage.output_tokens == 7
    case("anthropic stream helper")
    assert client.messages.count_tokens(model=CLAUDE, messages=talk("[mock input=77]")).input_tokens == 77
    case("anthropic count tokens")
    assert [model.id for model in client.models.list()] == ["batch"]
    case("anthropic models")


def anthropic_errors():
    client = of_anthropic()
    create = lambda client, text, **more: lambda: client.messages.create(
        **{"model": CLAUDE, "max_tokens": 20, "messages": talk(text), **more}
    )
    raises(anthropic.AuthenticationError, create(of_anthropic("kwk_nobody-knows-it"), "hi"))
    case("anthropic unknown key")
    raises(anthropic.PermissionDeniedError, create(of_anthropic(BANNED), "hi"))
    case("anthropic banned key")
    began = time.monotonic()
    raises(anthropic.RateLimitError, create(of_anthropic(POOR), "hi"))
    assert time.monotonic() - began < 5
    case("anthropic budget, without retries")
    raises(anthropic.NotFoundError, create(client, "hi", model="nobody-serves-it"))
    case("anthropic unknown model")
    raises(anthropic.BadRequestError, create(client, "hi", max_tokens=-1))
    case("anthropic bad request")
    raises(anthropic.UnprocessableEntityError, create(client, "[mock status=422]"))
    case("anthropic provider's error")
    raises(anthropic.RateLimitError, create(client.with_options(max_retries=0), "[mock status=429 retry_after=60]"))
    case("anthropic provider's limit")
    raises(anthropic.InternalServerError, create(client.with_options(max_retries=0), "[mock status=401]"))
    case("anthropic provider refuses our key")
    for name, text in [("cut", "[mock cut=6 events=20]"), ("failing", "[mock error_after=5]")]:
        stream = client.messages.create(model=CLAUDE, max_tokens=20, stream=True, messages=talk(text))
        raises(anthropic.APIError, lambda: list(stream))
        case(f"anthropic {name} stream")
    impatient = client.with_options(timeout=0.5, max_retries=0)
    raises(anthropic.APITimeoutError, create(impatient, "[mock delay_ms=60000]"))
    case("anthropic timeout")
    messages = talk("[mock events=2000 event_delay_ms=20]")
    stream = client.messages.create(model=CLAUDE, max_tokens=20, stream=True, messages=messages)
    next(iter(stream))
    stream.close()
    case("anthropic cancel")


async def asynchronous():
    client = openai.AsyncOpenAI(base_url=URL + "/v1", api_key=KEY)
    create = client.chat.completions.create
    answers = await asyncio.gather(
        *(create(model="gpt-4.1", messages=talk(f"[mock input={n} output=3]")) for n in range(1, 21))
    )
    assert [answer.usage.prompt_tokens for answer in answers] == list(range(1, 21))
    case("openai, 20 at once")
    stream = await create(model="gpt-4.1", stream=True, messages=talk("[mock output=7]"))
    assert len([chunk async for chunk in stream if chunk.choices]) > 7
    case("openai stream, asynchronous")
    client = anthropic.AsyncAnthropic(base_url=URL, api_key=KEY)
    async with client.messages.stream(model=CLAUDE, max_tokens=20, messages=talk("[mock output=7]")) as stream:
        assert (await stream.get_final_message()).usage.output_tokens == 7
    case("anthropic stream, asynchronous")


openai_answers()
openai_errors()
anthropic_answers()
anthropic_errors()
asyncio.run(asynchronous())
sys.stdout.flush()
