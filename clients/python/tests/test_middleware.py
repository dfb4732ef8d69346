"""The same questions to the middleware in each framework, in a real server, before the real Keyward."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import applications
import django
import pytest
import servers
from conftest import Service, eventually

from keyward.asgi import KeywardMiddleware as AsgiMiddleware
from keyward.wsgi import KeywardMiddleware as WsgiMiddleware

QUESTION = json.dumps({"model": "gpt-4.1", "max_tokens": 100}).encode()
#: What is held for it: its cap, and a third of its bytes.
HELD = 100 + -(-len(QUESTION) // 3)
#: Bodies that fail whoever reads them without care, and the tokens of an answer that are held for each.
HOSTILE = {
    "a number beyond all bounds": (b'{"model": "gpt-4.1", "max_tokens": 1' + b"0" * 400 + b"}", 4096),
    "a model that is no name": (b'{"model": {"toString": 1}, "max_tokens": 100}', 100),
    "lists in lists": (b'{"model": "gpt-4.1", "x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", 4096),
}

SCENES: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "asgi": (servers.asgi, applications.plain_asgi),
    "fastapi": (servers.asgi, applications.fastapi),
    "django-asgi": (servers.asgi, applications.django_asgi),
    "wsgi": (servers.wsgi, applications.plain_wsgi),
    "flask": (servers.wsgi, applications.flask),
    "django-wsgi": (servers.wsgi, applications.django_wsgi),
}


@pytest.fixture(params=SCENES)
def serve(request: pytest.FixtureRequest) -> Callable[..., Any]:
    server, application = SCENES[request.param]
    return lambda **options: server(application(**{"timeout": 10, **options}))


@pytest.fixture
def port(serve: Callable[..., Any], service: Service) -> Iterator[int]:
    with serve(url=service.url) as port:
        yield port


def new_key() -> str:
    return "sk-live-" + uuid.uuid4().hex


def test_a_banned_key_is_refused_in_every_header_and_spelling(port: int, service: Service, key: str) -> None:
    spellings = [
        ("authorization", f"Bearer {key}"),
        ("Authorization", f"bEaReR \t {key} \t"),
        ("x-api-key", key),
        ("X-Api-Key", f" \t{key}\t "),
        ("api-key", key),
        ("x-goog-api-key", key),
    ]
    for spelling in spellings:
        assert servers.ask(port, "/hello", spelling).status == 200, spelling
    service.ban(key)
    for spelling in spellings:
        reply = servers.ask(port, "/hello", spelling)
        assert (reply.status, reply.error["code"]) == (403, "API_KEY_BANNED"), spelling
        assert 500 <= int(reply.headers["retry-after"]) <= 600
        assert key not in reply.text
    assert servers.ask(port, "/hello", ("x-api-key", new_key())).status == 200, "another key"


def test_one_key_passes_however_often_it_is_named_and_two_keys_do_not(port: int, key: str) -> None:
    bearer, other = ("authorization", f"Bearer {key}"), new_key()
    passes = [
        [],
        [("x-api-key", ""), ("authorization", "")],
        [bearer, ("x-api-key", key), ("api-key", key)],
        [bearer, ("x-api-key", "")],
        [("x-api-key", key), ("x-api-key", key)],
    ]
    for headers in passes:
        assert servers.ask(port, "/hello", *headers).status == 200, headers
    refused = [
        ([bearer, ("x-api-key", other)], "AMBIGUOUS_KEY"),
        ([("x-api-key", other), bearer], "AMBIGUOUS_KEY"),
        ([("x-api-key", key), ("x-api-key", other)], "AMBIGUOUS_KEY"),
        ([("authorization", f"Basic {key}")], "INVALID_REQUEST"),
        ([("authorization", key)], "INVALID_REQUEST"),
        ([("authorization", f"Basic {key}"), ("x-api-key", key)], "INVALID_REQUEST"),
        ([("authorization", f"Bearer {key} {other}")], "INVALID_REQUEST"),
        ([("x-api-key", "sk-live-4f9\u00e9")], "INVALID_REQUEST"),
        ([("x-api-key", "k" * 513)], "INVALID_REQUEST"),
    ]
    for headers, code in refused:
        reply = servers.ask(port, "/hello", *headers)
        assert (reply.status, reply.error["code"]) == (403, code), headers


def test_a_limited_key_is_told_when_to_come_back_and_asks_nothing_of_a_model_for_free(
    port: int, service: Service, key: str
) -> None:
    service.spend(key, 9_999)
    reply = servers.ask(port, "/v1/chat/completions", ("x-api-key", key), body=QUESTION)
    assert (reply.status, reply.error["code"]) == (429, "RATE_LIMIT_EXCEEDED")
    assert 1 <= int(reply.headers["retry-after"]) <= 61
    assert servers.ask(port, "/hello", ("x-api-key", key)).status == 200, "what asks no model holds no tokens"


def test_what_was_used_is_charged_and_the_header_that_says_so_is_taken_out(port: int, service: Service) -> None:
    by_header, by_handle, invalid, failed = new_key(), new_key(), new_key(), new_key()
    moods = {"count": by_header, "handle": by_handle, "invalid": invalid, "fail": failed}
    replies = {
        mood: servers.ask(port, f"/v1/chat/completions?{mood}", ("x-api-key", key), body=QUESTION)
        for mood, key in moods.items()
    }
    assert [reply.status for reply in replies.values()] == [200, 200, 422, 500]
    assert "x-tokens-used" not in replies["count"].headers
    service.settled(by_header, 7)
    service.settled(by_handle, 9)
    service.settled(invalid, 0)
    service.settled(failed, HELD)
    assert service.usage(by_header)["models"] == ["gpt-4.1"]


def test_a_client_that_leaves_is_charged_what_was_held(
    request: pytest.FixtureRequest, port: int, service: Service, key: str
) -> None:
    if "django-asgi" in request.node.name and django.VERSION < (5,):
        pytest.skip("this Django does not hear that a client has left while it streams")
    servers.leave(port, "/v1/chat/completions?stream", key, QUESTION, after=b"hello")
    service.settled(key, HELD)


def test_a_body_reaches_the_application_unchanged_whatever_is_read_of_it(
    serve: Callable[..., Any], service: Service, key: str
) -> None:
    bodies = [b"", b"{", b'{"model": "gpt-4.1"}', b"\x00\xff" * 70_000, b'{"a": "' + b"x" * 200_000 + b'"}']
    with serve(url=service.url, most_body=100_000) as port:
        for body in bodies:
            reply = servers.ask(port, "/echo?echo", ("x-api-key", key), body=body)
            assert (reply.status, reply.raw) == (200, body), body[:20]


def test_routes_that_are_left_out_are_not_asked_about(serve: Callable[..., Any], service: Service, key: str) -> None:
    service.ban(key)
    with serve(url=service.url, exclude=["/healthz", "/assets/*"]) as port:
        statuses = {
            path: servers.ask(port, path, ("x-api-key", key)).status
            for path in ("/healthz", "/assets/a/b.css", "/hello", "/healthz/", "/assets/../hello", "/assets//x")
        }
    assert list(statuses.values()) == [200, 200, 403, 403, 403, 403], statuses


def test_the_client_behind_trusted_proxies_is_the_one_that_is_banned(
    serve: Callable[..., Any], service: Service, key: str
) -> None:
    banned = f"198.51.100.{uuid.uuid4().int % 200 + 1}"
    service.call("PUT", f"/v1/bans/ip:{banned}", {"duration_seconds": 600, "reason": "abuse"})
    asked = [("x-api-key", key), ("x-forwarded-for", f"203.0.113.9, {banned}, 10.1.2.3")]
    with serve(url=service.url, trusted_proxies=["127.0.0.0/8", "10.0.0.0/8"]) as port:
        reply = servers.ask(port, "/hello", *asked)
        assert (reply.status, reply.error["code"]) == (403, "IP_BANNED")
        spoofed = [("x-api-key", key), ("x-forwarded-for", f"{banned}, 203.0.113.9")]
        assert servers.ask(port, "/hello", *spoofed).status == 200, "what stands left of an untrusted one is hearsay"
    with serve(url=service.url) as port:
        assert servers.ask(port, "/hello", *asked).status == 200, "nobody is trusted, so the header says nothing"


def test_without_keyward_each_route_lets_through_or_refuses_as_it_is_told(
    serve: Callable[..., Any], own_service: Service, key: str
) -> None:
    with serve(url=own_service.url, timeout=0.5, fail_open=["/open/*"]) as port:
        # Within the deadline, which a busy machine may miss at first.
        eventually("there is Keyward", lambda: servers.ask(port, "/closed", ("x-api-key", key)).status == 200)
        own_service.kill()
        reply = servers.ask(port, "/closed", ("x-api-key", key))
        assert (reply.status, reply.error["code"]) == (503, "STORE_UNAVAILABLE")
        assert servers.ask(port, "/open/a?count", ("x-api-key", key)).status == 200
        assert servers.ask(port, "/closed").status == 200, "without a key it is the application's to refuse"
        own_service.start()
        eventually("what was let through is reported", lambda: own_service.usage(key).get("tokens") == 7)
        own_service.ban(key)
        eventually("Keyward is back", lambda: servers.ask(port, "/open/a", ("x-api-key", key)).status == 403)


def test_a_request_without_a_key_is_refused_where_one_is_required(serve: Callable[..., Any], service: Service) -> None:
    with serve(url=service.url, require_key=True) as port:
        reply = servers.ask(port, "/hello")
        assert (reply.status, reply.error["code"]) == (401, "NO_KEY")


def test_an_estimate_of_ones_own_is_held(serve: Callable[..., Any], service: Service, key: str) -> None:
    with serve(url=service.url, estimated_tokens=lambda request: 50 if request.path == "/paint" else None) as port:
        servers.ask(port, "/paint?fail", ("x-api-key", key))
        service.settled(key, 50)
        servers.ask(port, "/hello?fail", ("x-api-key", key))
        service.settled(key, 50, requests=2)
    with serve(url=service.url, estimated_tokens=20_000) as port:
        assert servers.ask(port, "/hello", ("x-api-key", key)).status == 429


def test_an_estimate_of_ones_own_that_fails_is_taken_from_the_request_which_is_asked_about(
    serve: Callable[..., Any], service: Service
) -> None:
    def broken(request: object) -> int:
        raise ZeroDivisionError

    for estimated in (broken, lambda request: float("nan")):
        key = new_key()
        with serve(url=service.url, estimated_tokens=estimated) as port:
            assert servers.ask(port, "/v1/chat/completions?fail", ("x-api-key", key), body=QUESTION).status == 500
            service.settled(key, HELD)
            service.ban(key)
            assert servers.ask(port, "/hello", ("x-api-key", key)).status == 403


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_banned_key_does_not_pass_by_what_its_body_says_and_a_good_one_is_held(
    serve: Callable[..., Any], service: Service, key: str, hostile: str
) -> None:
    body, output = HOSTILE[hostile]
    with serve(url=service.url, fail_open=True) as port:
        held = -(-len(body) // 3) + output
        reply = servers.ask(port, "/v1/chat/completions?fail", ("x-api-key", key), body=body)
        if held > 10_000:
            assert (reply.status, reply.error["code"]) == (429, "RATE_LIMIT_EXCEEDED"), "it was asked about"
        else:
            assert reply.status == 500, "the application had it"
            service.settled(key, held)
        service.ban(key)
        reply = servers.ask(port, "/v1/chat/completions", ("x-api-key", key), body=body)
        assert (reply.status, reply.error["code"]) == (403, "API_KEY_BANNED")


def test_a_length_that_is_no_number_is_none(service: Service, key: str) -> None:
    with servers.wsgi(applications.plain_wsgi(url=service.url, timeout=10, fail_open=True)) as port:
        service.ban(key)
        for length in ("\u00b2", "9" * 5_000):
            reply = servers.ask(port, "/hello", ("x-api-key", key), ("content-length", length), method="POST")
            assert (reply.status, reply.error["code"]) == (403, "API_KEY_BANNED"), length[:5]


class Broken:
    """A body whose sender breaks off."""

    def read(self, size: int = -1) -> bytes:
        raise OSError("as asked")

    async def receive(self) -> Any:
        raise OSError("as asked")


def test_what_cannot_be_read_is_refused_even_where_it_fails_open(service: Service, key: str) -> None:
    def never(*_: Any) -> Any:
        raise AssertionError("the application must not have it")

    said: list[Any] = []

    async def send(message: Any) -> None:
        said.append(message)

    asgi = AsgiMiddleware(never, service.url, fail_open=True)
    scope = {"type": "http", "method": "POST", "path": "/hello", "headers": [(b"x-api-key", key.encode())]}
    asyncio.run(asgi(scope, Broken().receive, send))
    assert (said[0]["status"], json.loads(said[1]["body"])["error"]["code"]) == (403, "INVALID_REQUEST")

    wsgi = WsgiMiddleware(never, service.url, fail_open=True)
    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/hello", "HTTP_X_API_KEY": key, "CONTENT_LENGTH": "9"}
    (body,) = wsgi({**environ, "wsgi.input": Broken()}, lambda status, headers: said.append(status))
    assert (said[-1], json.loads(body)["error"]["code"]) == ("403 Forbidden", "INVALID_REQUEST")


def test_a_key_in_the_query_is_looked_at_where_its_parameter_is_named(
    serve: Callable[..., Any], service: Service, key: str
) -> None:
    with serve(url=service.url, key_queries=["key"]) as port:
        assert servers.ask(port, f"/hello?key={key}").status == 200
        reply = servers.ask(port, f"/hello?key={key}", ("x-api-key", new_key()))
        assert (reply.status, reply.error["code"]) == (403, "AMBIGUOUS_KEY")
        assert servers.ask(port, f"/hello?key={key}", ("x-api-key", key)).status == 200
        assert servers.ask(port, "/hello?key=two+words").error["code"] == "INVALID_REQUEST"
        service.ban(key)
        for query in (f"key={key}", f"a=b&k%65y={key}", f"a;key={key}"):
            reply = servers.ask(port, f"/hello?{query}")
            assert (reply.status, reply.error["code"]) == (403, "API_KEY_BANNED"), query
            assert key not in reply.text
    with serve(url=service.url) as port:
        assert servers.ask(port, f"/hello?key={key}").status == 200, "no parameter is named"


@pytest.mark.parametrize("application", [applications.plain_asgi, applications.fastapi])
def test_a_client_that_leaves_before_the_answer_is_charged_what_was_held(
    application: Callable[..., Any], service: Service, key: str
) -> None:
    with servers.asgi(application(url=service.url, timeout=10)) as port:
        servers.leave(port, f"/{key}?hang", key, QUESTION)
        service.settled(key, HELD)
