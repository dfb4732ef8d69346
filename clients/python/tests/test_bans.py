"""The ban cache: a key whose ban is known costs no call, and a lifted ban is forgotten."""

from __future__ import annotations

import json
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import SETTINGS, Service, eventually, program

from keyward import Keyward

ASKED = {"source_ip": "127.0.0.1", "endpoint": "/hello"}


@pytest.fixture
def watching(own_service: Service) -> Iterator[Keyward]:
    client = Keyward(own_service.url, timeout=10)
    client.check(api_key="sk-first", **ASKED)
    eventually("the stream is heard", lambda: client.knows_bans)
    yield client
    client.close()


def refused_by_cache(client: Keyward, key: str) -> bool:
    return client.check(api_key=key, **ASKED).by == "cache"


def test_a_banned_key_costs_no_call(watching: Keyward, own_service: Service, key: str) -> None:
    assert watching.check(api_key=key, **ASKED).allowed
    own_service.ban(key)
    eventually("the ban is heard", lambda: refused_by_cache(watching, key))
    asked = watching.stats.asked
    calls = checks(own_service)
    for _ in range(200):
        decision = watching.check(api_key=key, **ASKED)
        assert (decision.status, decision.reason) == (403, "API_KEY_BANNED")
        assert 500 <= (decision.retry_after or 0) <= 600
    assert watching.stats.asked == asked
    assert checks(own_service) == calls, "Keyward has heard of none of them"
    assert watching.check(api_key="sk-first", **ASKED).allowed


def checks(service: Service) -> float:
    """Checks that Keyward has answered, as it counts them itself."""
    with urllib.request.urlopen(service.url + "/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("keyward_checks_total "))


def test_a_key_that_is_banned_already_costs_one_call(watching: Keyward, own_service: Service, key: str) -> None:
    own_service.ban(key, None)
    assert watching.check(api_key=key, **ASKED).by == "keyward"
    decision = watching.check(api_key=key, **ASKED)
    assert (decision.by, decision.action, decision.retry_after) == ("cache", "permanent_ban", None)


def test_a_key_named_by_its_public_id_is_known_too(watching: Keyward, own_service: Service) -> None:
    key_id = "team-" + uuid.uuid4().hex
    watching.check(key_id=key_id, **ASKED)
    own_service.call("PUT", f"/v1/bans/key:{key_id}", {"duration_seconds": 60, "reason": "leaked"})
    eventually("the ban is heard", lambda: watching.check(key_id=key_id, **ASKED).by == "cache")


def test_a_lifted_ban_is_forgotten_at_once(watching: Keyward, own_service: Service, key: str) -> None:
    watching.check(api_key=key, **ASKED)
    key_id = own_service.ban(key)
    eventually("the ban is heard", lambda: refused_by_cache(watching, key))
    own_service.lift(key_id)
    eventually("the lifting is heard", lambda: watching.check(api_key=key, **ASKED).allowed)


def test_a_ban_that_only_observes_refuses_nobody(watching: Keyward, own_service: Service, key: str) -> None:
    watching.check(api_key=key, **ASKED)
    own_service.ban(key)
    eventually("the ban is heard", lambda: refused_by_cache(watching, key))
    policy = own_service.call("GET", "/v1/policy")
    own_service.call("PUT", "/v1/policy", {**policy, "enforcement": "observe"})
    eventually("the policy is heard", lambda: watching.check(api_key=key, **ASKED).allowed)


def test_what_was_lifted_while_the_stream_was_broken_is_forgotten(
    watching: Keyward, own_service: Service, key: str
) -> None:
    watching.check(api_key=key, **ASKED)
    key_id = own_service.ban(key)
    eventually("the ban is heard", lambda: refused_by_cache(watching, key))
    own_service.kill()
    eventually("nothing is known while the stream is broken", lambda: not watching.knows_bans)
    own_service.start()
    own_service.lift(key_id)
    eventually("the stream is heard again", lambda: watching.knows_bans)
    eventually("the lifting is heard", lambda: watching.check(api_key=key, **ASKED).allowed)


def test_a_ban_made_while_the_stream_was_broken_is_heard_when_it_resumes(
    watching: Keyward, own_service: Service, key: str
) -> None:
    watching.check(api_key=key, **ASKED)
    own_service.ban("sk-another")
    eventually("there is an event to resume after", lambda: watching.core.bans._last)
    own_service.kill()
    own_service.start()
    own_service.ban(key)
    eventually("the ban is heard", lambda: watching.core.bans.known(key, None))


def new_token(*scopes: str) -> tuple[str, str]:
    """A token with these scopes, and the entry that lets it in."""
    command = [program(), "token", "new", "--json", *(part for scope in scopes for part in ("--scope", scope))]
    made = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=30).stdout)
    entry = made["entry"]
    table = f'[[auth.tokens]]\nid = "{entry["id"]}"\nhash = "{entry["hash"]}"\nscopes = {json.dumps(entry["scopes"])}\n'
    return made["token"], table


def test_the_stream_takes_a_token_with_the_scope_read_and_all_else_one_with_record(
    tmp_path: Path, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    (both, first), (record, second), (admin, third) = (
        new_token("record", "read"), new_token("record"), new_token("bans:write", "record")
    )  # fmt: skip
    service = Service(tmp_path, SETTINGS + first + second + third, token=admin)
    try:
        with Keyward(service.url, both, timeout=10) as knows, Keyward(service.url, record, timeout=10) as asks:
            for client in (knows, asks):
                assert client.check(api_key=key, **ASKED).allowed
            eventually("the stream is heard", lambda: knows.knows_bans)
            eventually("the refusal is told", lambda: "its scope is read" in caplog.text)
            service.ban(key)
            eventually("the ban is heard", lambda: refused_by_cache(knows, key))
            decision = asks.check(api_key=key, **ASKED)
            assert (decision.by, decision.reason) == ("keyward", "API_KEY_BANNED")
            assert record not in caplog.text
    finally:
        service.kill()
