"""LiteLLM's own proxy with the callback and the authentication, before a small provider and the real Keyward."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Service, eventually
from provider import provider

CONFIG = """
model_list:
  - model_name: gpt-4.1
    litellm_params: {{ model: openai/gpt-4.1, api_base: {upstream}/v1, api_key: sk-of-the-proxy }}
  - model_name: endless
    litellm_params: {{ model: openai/gpt-endless, api_base: {upstream}/v1, api_key: sk-of-the-proxy }}
  - model_name: broken
    litellm_params: {{ model: openai/broken, api_base: {upstream}/v1, api_key: sk-of-the-proxy, max_retries: 0 }}
  - model_name: shaky
    litellm_params: {{ model: openai/broken-too, api_base: {upstream}/v1, api_key: sk-of-the-proxy, max_retries: 0 }}
  - model_name: invalid
    litellm_params: {{ model: openai/invalid, api_base: {upstream}/v1, api_key: sk-of-the-proxy }}
  - model_name: claude
    litellm_params: {{ model: anthropic/claude-sonnet-4-5, api_base: {upstream}, api_key: sk-of-the-proxy }}
litellm_settings:
  callbacks: keyward.litellm.callback
  num_retries: 0
general_settings:
  custom_auth: keyward.litellm.user_api_key_auth
router_settings:
  disable_cooldowns: true
  fallbacks: [{{ shaky: [gpt-4.1] }}]
"""
#: What the provider says that each answer used.
USED = 18


class Proxy:
    def __init__(self, port: int, service: Service) -> None:
        self.port = port
        self.service = service

    def ask(self, key: str | None, path: str = "/v1/chat/completions", **body: Any) -> tuple[int, bytes]:
        connection, answer = self.open(key, path, **body)
        text = answer.read()
        connection.close()
        return answer.status, text

    def open(self, key: str | None, path: str = "/v1/chat/completions", **body: Any) -> Any:
        headers = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
        body = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 100, **body}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("POST", path, json.dumps(body), headers)
        return connection, connection.getresponse()

    def issue(self) -> str:
        """A key that is registered."""
        key = "sk-live-" + secrets.token_hex(16)
        self.service.call("PUT", f"/v1/keys/{self.service.check(key)['key_id']}", {"label": "of a test"})
        return key


@pytest.fixture(scope="module")
def proxy(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    directory: Path = tmp_path_factory.mktemp("litellm")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with provider() as (upstream, _):
        (directory / "config.yaml").write_text(CONFIG.format(upstream=upstream))
        environment = {
            **os.environ,
            "KEYWARD_URL": service.url,
            "LITELLM_MASTER_KEY": "sk-" + secrets.token_hex(32),
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_TELEMETRY": "False",
            "LITELLM_MODE": "PRODUCTION",
            "NO_PROXY": "127.0.0.1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = [str(Path(sys.executable).with_name("litellm")), "--config", "config.yaml"]
        command += ["--host", "127.0.0.1", "--port", str(port)]
        with open(directory / "said", "w") as said:
            process = subprocess.Popen(command, cwd=directory, stdout=said, stderr=said, env=environment)
        try:
            eventually("LiteLLM listens", lambda: _listens(port, process, directory), 180)
            yield Proxy(port, service)
        finally:
            process.terminate()
            process.wait(20)


def _listens(port: int, process: subprocess.Popen[bytes], directory: Path) -> bool:
    assert process.poll() is None, (directory / "said").read_text()[-3000:]
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def test_plain_and_streamed_calls_settle_to_the_token(proxy: Proxy, service: Service) -> None:
    plain, streamed = proxy.issue(), proxy.issue()
    status, text = proxy.ask(plain)
    assert (status, json.loads(text)["usage"]["total_tokens"]) == (200, USED), text
    status, text = proxy.ask(streamed, stream=True)
    assert (status, text.rstrip().endswith(b"[DONE]")) == (200, True), text
    for key in (plain, streamed):
        service.settled(key, USED)
        usage = service.usage(key)
        assert (usage["input_tokens"], usage["output_tokens"]) == (11, 7)


def test_answers_of_anthropic_settle_to_the_token_with_their_cache(proxy: Proxy, service: Service) -> None:
    key = proxy.issue()
    assert proxy.ask(key, model="claude")[0] == 200
    service.settled(key, USED)
    assert proxy.ask(key, "/v1/messages", model="claude")[0] == 200
    service.settled(key, 2 * USED, requests=2)


def test_a_stream_that_its_client_leaves_is_charged_the_estimate(proxy: Proxy, service: Service) -> None:
    key = proxy.issue()
    connection, answer = proxy.open(key, model="endless", stream=True)
    answer.read(10)
    held = service.used(key)
    assert held > 100
    answer.close()
    connection.close()
    service.settled(key, held, seconds=90)


def test_what_the_provider_refuses_is_free_and_what_it_fails_at_is_charged(proxy: Proxy, service: Service) -> None:
    invalid, broken = proxy.issue(), proxy.issue()
    assert proxy.ask(invalid, model="invalid")[0] == 400
    service.settled(invalid, 0)
    assert proxy.ask(broken, model="broken")[0] == 500
    eventually("it is settled", lambda: service.usage(broken)["requests"] == 1)
    assert service.used(broken) > 100


def test_a_call_that_falls_back_is_charged_once_what_its_answer_used(proxy: Proxy, service: Service) -> None:
    key = proxy.issue()
    assert proxy.ask(key, model="shaky")[0] == 200
    service.settled(key, USED)
    assert service.usage(key)["models"] == ["gpt-4.1"]
    assert proxy.ask(key, model="shaky", stream=True)[0] == 200
    service.settled(key, 2 * USED, requests=2)


def test_refusals_reach_the_client_with_their_status_and_cost_no_call(proxy: Proxy, service: Service) -> None:
    key = proxy.issue()
    status, text = proxy.ask(key, max_tokens=20_000)
    assert (status, b"RATE_LIMIT_EXCEEDED" in text) == (429, True), text
    service.ban(key)
    status, text = proxy.ask(key)
    assert (status, b"API_KEY_BANNED" in text, key.encode() in text) == (403, True, False), text


def test_a_key_that_nobody_registered_is_not_let_in(proxy: Proxy, key: str) -> None:
    status, text = proxy.ask(key)
    assert (status, b"UNKNOWN_KEY" in text) == (403, True), text
    assert proxy.ask(None)[0] == 401


def test_a_banned_key_does_not_pass_by_what_its_body_says(service: Service, key: str) -> None:
    from fastapi import HTTPException
    from litellm.proxy._types import UserAPIKeyAuth

    from keyward import AsyncKeyward
    from keyward.litellm import KeywardCallback

    nested: list[Any] = []
    for _ in range(50_000):
        nested = [nested]
    client = AsyncKeyward(service.url, timeout=10, watch_bans=False, fail_open=True)
    callback = KeywardCallback(client)
    who = UserAPIKeyAuth(metadata={"keyward_key_id": service.check(key)["key_id"]})

    async def ask(**body: Any) -> None:
        sent = {"body": {"model": "gpt-4.1", **body}, "url": "http://x/v1/chat/completions", "headers": {}}
        data = {"model": "gpt-4.1", "proxy_server_request": sent}
        await callback.async_pre_call_hook(who, None, data, "completion")

    hostile = [{"max_tokens": 10**400}, {"model": {"toString": 1}}, {"x": nested}]
    for body in hostile[1:]:
        asyncio.run(ask(**body))
    assert service.used(key) > 2 * 4_000, "each is held as one that names no cap"
    service.ban(key)
    for body in hostile:
        with pytest.raises(HTTPException) as refused:
            asyncio.run(ask(**body))
        assert (refused.value.status_code, refused.value.detail["code"]) == (403, "API_KEY_BANNED")
    assert client.core.close(10)
