"""What is read of a request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from keyward._request import Clients, Estimate, Routes, estimate, keys_in_query, keys_of, may_be_json


@pytest.mark.parametrize(
    ("asked", "output"),
    [
        ({"max_tokens": 100}, 100),
        ({"max_completion_tokens": 200, "max_tokens": 1}, 200),
        ({"max_output_tokens": 300}, 300),
        ({"generationConfig": {"maxOutputTokens": 400}}, 400),
        ({"max_tokens": 10, "n": 3}, 30),
        ({"max_tokens": 10.5}, 11),
        ({"max_tokens": None}, 4096),
        ({"max_tokens": "100"}, 4096),
        ({"max_tokens": True}, 4096),
        ({"max_tokens": -5}, 4096),
        ({"max_tokens": 1e400}, 4096),
        ({"max_tokens": 1e30}, 10**9),
        ({"max_tokens": 10**30}, 10**9),
        ({"max_tokens": 10**400}, 4096),
        ({"max_tokens": 10, "n": 10**400}, 10),
        ({"max_tokens": 10, "seed": 10**400}, 10),
        ({}, 4096),
    ],
)
def test_the_cap_of_a_request_is_its_estimate_and_nothing_beside_it_makes_it_smaller(
    asked: dict[str, Any], output: int
) -> None:
    body = json.dumps({"model": "gpt-4.1", **asked}).encode()
    found = estimate(body)
    assert (found.output_tokens, found.model) == (output, "gpt-4.1")
    assert found.input_tokens == -(-len(body) // 3)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"model"', b"{}", b'{"name": "a"}', b"\xff\xfe", b"[" * 100_000]
)
def test_what_asks_no_model_holds_no_tokens(body: bytes) -> None:
    assert estimate(body).tokens == 0


def test_what_names_its_model_in_the_path_or_a_cap_alone_is_held() -> None:
    gemini, azure = "/v1beta/models/gemini-2.5-flash", "/openai/deployments/of-ours/chat/completions"
    capped, plain = b'{"generationConfig": {"maxOutputTokens": 400}}', b'{"contents": []}'
    for path, body, wanted in (
        (f"{gemini}:generateContent", capped, Estimate(16, 400, "gemini-2.5-flash")),
        (f"{gemini}:streamGenerateContent", plain, Estimate(6, 4096, "gemini-2.5-flash")),
        (f"{gemini}:countTokens", plain, Estimate(6, 0, "gemini-2.5-flash")),
        (azure, b'{"max_tokens": 9}', Estimate(6, 9)),
        (azure, b'{"messages": []}', Estimate(6, 4096)),
        ("/anything", b'{"max_tokens": 9}', Estimate(6, 9)),
        ("/models/7", plain, Estimate()),
    ):
        assert estimate(body, path) == wanted, path


def test_a_number_of_more_digits_than_python_reads_hides_no_model() -> None:
    body = b'{"model": "gpt-4.1", "max_tokens": 100, "seed": ' + b"9" * 5_000 + b"}"
    assert (estimate(body).output_tokens, estimate(body).model) == (100, "gpt-4.1")


@pytest.mark.parametrize("model", ['{"toString": 1}', "[]", "5", "true", '""'])
def test_a_model_that_is_no_name_is_held_without_one(model: str) -> None:
    body = f'{{"model": {model}, "max_tokens": 100}}'.encode()
    assert estimate(body) == Estimate(-(-len(body) // 3), 100)


def test_what_is_nested_too_deep_to_be_read_is_held_as_what_names_no_cap() -> None:
    body = b'{"model": "gpt-4.1", "x": ' + b"[" * 100_000
    assert estimate(body, most_tokens=50) == Estimate(-(-len(body) // 3), 50)


def test_embeddings_answer_without_tokens() -> None:
    found = estimate(b'{"model": "text-embedding-3-small", "input": "x"}', "/v1/embeddings")
    assert (found.output_tokens, found.input_tokens > 0) == (0, True)


def test_json_in_any_of_its_encodings_is_read() -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        body = json.dumps({"model": "gpt-4.1", "max_tokens": 5}).encode(encoding)
        assert may_be_json(body[:64]) and estimate(body).output_tokens == 5, encoding
    assert not may_be_json(b"--boundary")


def test_every_header_of_a_name_is_looked_at() -> None:
    assert keys_of([("x-api-key", "a"), ("x-api-key", "b"), ("authorization", "Bearer a"), ("cookie", "c")]) == {
        "a",
        "b",
    }
    assert keys_of([("authorization", "Basic a")]) == {None}
    assert keys_of([("x-api-key", " \t")]) == set()


def test_a_comma_separates_keys_as_two_headers_do() -> None:
    assert keys_of([("x-api-key", "a,")]) == keys_of([("x-api-key", ", a , a")]) == {"a"}
    assert keys_of([("authorization", "Bearer a, bearer a")]) == {"a"}
    assert keys_of([("x-api-key", "a,b")]) == {"a", "b"}
    assert keys_of([("authorization", "Bearer a, b")]) == {"a", None}


def test_keys_in_the_query_are_read_as_keyward_reads_them_where_a_parameter_is_named() -> None:
    for query in ("key=a", "x=y&key=a", "k%65y=%61", "key=+a", "key=&key=a", "x;key=a", "key=a&key=a"):
        assert keys_in_query(query, ["key"]) == {"a"}, query
        assert keys_in_query(query, []) == set(), query
    assert keys_in_query("key=a&api_key=b&Key=c&other=d", ["key", "api_key"]) == {"a", "b"}
    assert keys_in_query("#key=a", ["key"]) == {"a"}
    assert keys_in_query("key=a#b", ["key"]) == {"a", "a#b"}, "applications differ in where it ends"
    for query in ("key=a+b", "key=%ff", "key=%C3%A9", "key=\u00e9", "key=" + "k" * 513):
        assert keys_in_query(query, ["key"]) == {None}, query
    for query in ("", "key", "key=", "key=+", "%ff=a", "monkey=a"):
        assert keys_in_query(query, ["key"]) == set(), query


@pytest.mark.parametrize(
    ("header", "peer", "lines", "client"),
    [
        ("x-forwarded-for", "10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("x-forwarded-for", "10.0.0.1", ["1.1.1.1, 203.0.113.7, 10.0.0.2"], "203.0.113.7"),
        ("x-forwarded-for", "10.0.0.1", ["1.1.1.1", "203.0.113.7"], "203.0.113.7"),
        ("x-forwarded-for", "203.0.113.1", ["1.1.1.1"], "203.0.113.1"),
        ("x-forwarded-for", "10.0.0.1", [], "10.0.0.1"),
        ("x-forwarded-for", "10.0.0.1", ["unknown"], "10.0.0.1"),
        ("x-forwarded-for", "10.0.0.1", ["203.0.113.7:4711"], "203.0.113.7"),
        ("x-forwarded-for", "10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("x-forwarded-for", "::ffff:10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("x-forwarded-for", None, ["203.0.113.7"], "127.0.0.1"),
        ("x-real-ip", "10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("forwarded", "10.0.0.1", ['for=1.1.1.1, proto=http;for="[2001:db8::1]:47"'], "2001:db8::1"),
        ("forwarded", "10.0.0.1", ["for=_hidden"], "10.0.0.1"),
        ("forwarded", "10.0.0.1", ['for=203.0.113.7;ext="a, for=1.1.1.1"'], "203.0.113.7"),
        ("forwarded", "10.0.0.1", ['ext="a;for=1.1.1.1";for=203.0.113.7'], "203.0.113.7"),
        ("forwarded", "10.0.0.1", [r'ext="a\", for=1.1.1.1";for=203.0.113.7, for=10.1.1.1'], "203.0.113.7"),
        ("forwarded", "10.0.0.1", ['for=", for=203.0.113.7'], "203.0.113.7"),
        ("forwarded", "10.0.0.1", [", for=203.0.113.7,"], "203.0.113.7"),
        ("x-forwarded-for", "10.0.0.1", ["203.0.113.7, ,", ""], "203.0.113.7"),
    ],
)
def test_the_client_is_the_first_that_is_no_trusted_proxy(
    header: str, peer: str | None, lines: list[str], client: str
) -> None:
    assert Clients(["10.0.0.0/8"], header).of(peer, lines) == client


def test_a_path_that_may_lead_elsewhere_is_never_left_out() -> None:
    routes = Routes(["/static/*", "/healthz"])
    assert "/static/a.css" in routes and "/healthz" in routes
    for path in ("/static/../admin", "/static//x", "/static/%2e%2e/admin", "/static/\\admin", "/static/..", "/Healthz"):
        assert path not in routes, path
    with pytest.raises(ValueError, match="slash"):
        Routes(["healthz"])
