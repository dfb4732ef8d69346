"""The real Keyward on a free port. `KEYWARD_BIN` names the program; without it, the one that cargo built."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keyward import AsyncKeyward, Keyward

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = """
[cardinality]
new_subjects_per_minute_per_address = 6000
[policy.limits.tokens]
"1min" = 10000
[policy.on_store_failure]
check = "deny"
[reservations]
lease_seconds = 3600
"""


def program() -> str:
    built = [Path(os.environ.get("KEYWARD_BIN", ""))] if os.environ.get("KEYWARD_BIN") else []
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built += [target / kind / "keyward" for kind in ("debug", "release")]
    found = next((path for path in built if path.is_file()), None)
    assert found, "Keyward is needed: cargo build, or name it in KEYWARD_BIN"
    return str(found)


def eventually(what: str, holds: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Polls until `holds` gives something, with a deadline."""
    until = time.monotonic() + seconds
    while True:
        value = holds()
        if value:
            return value
        assert time.monotonic() < until, f"in time: {what}"
        time.sleep(0.02)


class Service:
    """A running Keyward, and what an operator does with it."""

    def __init__(self, directory: Path, settings: str = SETTINGS, listen: str = "127.0.0.1:0", token: str = "") -> None:
        (directory / "keyward.toml").write_text(settings)
        self._command = [program(), "serve", "--config", str(directory / "keyward.toml")]
        self._command += ["--store", f"embedded:{directory / 'data'}", "--listen"]
        self._token = token
        self._listen = listen
        self.start()

    def start(self) -> None:
        environment = {**os.environ, "KEYWARD_PEPPER": "0123456789abcdef0123"}
        self._process = subprocess.Popen(
            [*self._command, self._listen], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        output = self._process.stdout
        assert output
        said = []
        for line in output:
            said.append(line)
            found = re.search(r"listens on (http://127\.0\.0\.1:(\d+))", line)
            if found:
                self.url, self._listen = found[1], f"127.0.0.1:{found[2]}"
                break
        else:
            raise AssertionError("Keyward did not start: " + "".join(said))
        threading.Thread(target=lambda: [None for _ in output], daemon=True).start()
        eventually("Keyward is ready", self._alive)

    def _alive(self) -> bool:
        try:
            urllib.request.urlopen(self.url + "/livez", timeout=2)
        except OSError:
            return False
        return True

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def call(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"content-type": "application/json"}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def check(self, key: str) -> Any:
        return self.call("POST", "/v1/check", {"api_key": key, "source_ip": "127.0.0.1"})

    def used(self, key: str) -> int:
        """Tokens that the minute of a key holds."""
        limits = self.check(key)["limits"]
        return next(limit["used"] for limit in limits if limit["window"] == "1min" and limit["unit"] == "tokens")

    def spend(self, key: str, tokens: int) -> None:
        record = {"api_key": key, "endpoint": "/", "source_ip": "127.0.0.1", "tokens_used": tokens}
        self.call("POST", "/v1/record", record)

    def ban(self, key: str, seconds: int | None = 600) -> str:
        key_id = self.check(key)["key_id"]
        self.call("PUT", f"/v1/bans/key:{key_id}", {"duration_seconds": seconds, "reason": "leaked"})
        return str(key_id)

    def lift(self, key_id: str) -> None:
        self.call("DELETE", f"/v1/bans/key:{key_id}?reason=settled", {"reason": "settled"})

    def usage(self, key: str) -> dict[str, Any]:
        """What is counted of a key today; empty where nothing is."""
        key_id = self.check(key)["key_id"]
        rows = self.call("GET", "/v1/usage?group_by=key,model,endpoint&bucket=day")["rows"]
        mine = [row for row in rows if row["key"] == key_id]
        sums = {
            name: sum(row[name] for row in mine) for name in ("requests", "tokens", "input_tokens", "output_tokens")
        }
        return {**sums, "models": sorted({row["model"] for row in mine if row.get("model")}), "rows": mine}

    def settled(self, key: str, tokens: int, requests: int = 1, seconds: float = 20.0) -> None:
        """Waits until so much is counted of a key, and nothing is held beyond it."""
        eventually(f"{key} has {requests} requests", lambda: self.usage(key).get("requests") == requests, seconds)
        assert self.usage(key)["tokens"] == tokens
        assert self.used(key) == tokens


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("keyward"))
    yield service
    service.kill()


@pytest.fixture
def own_service(tmp_path: Path) -> Iterator[Service]:
    """One that a test may stop."""
    service = Service(tmp_path)
    yield service
    service.kill()


@pytest.fixture
def key() -> str:
    """A key that no other test uses."""
    return "sk-live-" + uuid.uuid4().hex


@pytest.fixture
def client(service: Service) -> Iterator[Keyward]:
    client = Keyward(service.url, timeout=10, watch_bans=False)
    yield client
    assert client.close(10)


@pytest.fixture
def loop_client(service: Service) -> Iterator[AsyncKeyward]:
    client = AsyncKeyward(service.url, timeout=10, watch_bans=False)
    yield client
    assert client.core.close(10)
