"""What a request says of itself: its keys, its client, and the most that it may use."""

from __future__ import annotations

import ipaddress
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Union
from urllib.parse import unquote_to_bytes

#: Every header that keys are looked for in, where nothing else is said.
KEY_HEADERS = ("authorization", "x-api-key", "api-key", "x-goog-api-key")
#: Tokens of an answer, where a request to a model names no cap.
MOST_TOKENS = 4096
#: Bytes of a request that are read to estimate it; a larger one holds no tokens.
MOST_BODY = 8 << 20
_MOST_CAP = 10**9
#: A token of a prompt is seldom shorter than three bytes.
_BYTES_PER_TOKEN = 3

_BEARER = re.compile(r"(?i:bearer)[ \t]+([!-~]{1,512})")
_PLAIN = re.compile(r"[!-~]{1,512}")
_CAPS = ("max_completion_tokens", "max_tokens", "max_output_tokens", "max_tokens_to_sample")
#: Routes to models that answer without tokens.
_WITHOUT_OUTPUT = (
    "embeddings", "moderations", "rerank", "count_tokens", ":countTokens", ":embedContent", ":batchEmbedContents"
)  # fmt: skip
#: Routes that name the model themselves: Gemini's and Azure's. Azure's is a deployment, which has no price.
_OF_MODEL = re.compile(r"/models/(?P<model>[^/:]+):\w+$|/openai/deployments/[^/]+/")

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


def cut(text: str, most: int) -> str:
    """The text as Keyward takes it: valid UTF-8 of at most so many bytes."""
    return text.encode("utf-8", "replace")[:most].decode("utf-8", "ignore")


def key_in(name: str, value: str) -> str | None:
    """The key in the value of a header; None for one that others may read another key from."""
    if name == "authorization":
        bearer = _BEARER.fullmatch(value)
        return bearer[1] if bearer else None
    return _plain(value)


def keys_of(headers: Iterable[tuple[str, str]], names: Sequence[str] = KEY_HEADERS) -> set[str | None]:
    """All keys that the headers name. Header names are in lower case. A comma joins what came in several of one name."""
    given = ((name, part.strip(" \t")) for name, value in headers if name in names for part in value.split(","))
    return {key_in(name, part) for name, part in given if part}


def keys_in_query(query: str, names: Sequence[str]) -> set[str | None]:
    """All keys that a query names, read as Keyward reads it; None for one that others may read another key from.

    A `#` belongs to no query, but a target may have one, and applications differ in whether a value ends there: both
    are looked at.
    """
    parts = re.split("[&;]", query) + (re.split("[&;#]", query) if "#" in query else [])
    pairs = (pair.partition("=") for pair in parts if names)
    given = (_decoded(value) for name, _, value in pairs if _decoded(name) in names)
    return {_plain(value) for value in given if value != ""}


def _decoded(text: str) -> str | None:
    """A part of a query as forms write it, without the blanks around it; None where it is not UTF-8."""
    try:
        return unquote_to_bytes(text.replace("+", " ")).decode().strip(" \t")
    except UnicodeError:
        return None


def _plain(text: str | None) -> str | None:
    return text if text is not None and _PLAIN.fullmatch(text) else None


class Routes:
    """A choice of paths by patterns such as `/static/*`; `*` stands for any text.

    A path that may lead elsewhere than it reads (`..`, `//`, a backslash, an encoded dot or slash) is never chosen.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = tuple(patterns)
        for pattern in self._patterns:
            if not pattern.startswith(("/", "*")):
                raise ValueError(f"the pattern {pattern!r} must begin with a slash, such as /healthz or /static/*")

    def __contains__(self, path: object) -> bool:
        if not isinstance(path, str) or _TWISTED.search(path):
            return False
        return any(fnmatchcase(path, pattern) for pattern in self._patterns)


_TWISTED = re.compile(r"//|\\|/\.\.?(/|$)|%2e|%2f|%5c", re.IGNORECASE)


class Clients:
    """Who asks, behind proxies: the header is read from the right, past each proxy that is trusted, no further."""

    def __init__(self, trusted: Iterable[str] = (), header: str = "x-forwarded-for") -> None:
        self.header = header.lower()
        if self.header not in ("x-forwarded-for", "forwarded", "x-real-ip"):
            raise ValueError("client_header: x-forwarded-for, forwarded or x-real-ip")
        self._trusted: list[Network] = [ipaddress.ip_network(entry, strict=False) for entry in trusted]

    def of(self, peer: str | None, forwarded: Iterable[str]) -> str:
        """The address of the client. `peer` is the other end of the connection; a unix socket has none: 127.0.0.1."""
        client = _address(peer or "127.0.0.1")
        if client is None:
            return "127.0.0.1"
        quotes = self.header == "forwarded"
        entries = [entry for line in forwarded for entry in _parts(line, ",", quotes) if entry.strip()]
        for entry in reversed(entries):
            before = _address(self._named(entry))
            if not self._trusts(client) or before is None:
                break
            client = before
        return str(client)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)

    def _named(self, entry: str) -> str:
        if self.header != "forwarded":
            return entry
        pairs = (pair.strip() for pair in _parts(entry, ";", True))
        return next((pair[4:] for pair in pairs if pair[:4].lower() == "for="), "")


def _parts(text: str, separator: str, quotes: bool) -> list[str]:
    """The parts of a text between separators; with `quotes` only between those that stand in no quoted string.

    They are looked for from the right: what a client sent stands left, and may end within quotes.
    """
    if not quotes:
        return text.split(separator)
    parts, end, quoted = [], len(text), False
    for at in range(len(text) - 1, -1, -1):
        if text[at] == '"' and not _is_escaped(text, at):
            quoted = not quoted
        elif text[at] == separator and not quoted:
            parts.append(text[at + 1 : end])
            end = at
    return [text[:end], *reversed(parts)]


def _is_escaped(text: str, at: int) -> bool:
    start = at
    while start > 0 and text[start - 1] == "\\":
        start -= 1
    return (at - start) % 2 == 1


def _address(text: str) -> Address | None:
    text = text.strip().strip('"').split("%", 1)[0]
    bracketed = re.fullmatch(r"\[([^\]]+)\](?::\d+)?", text)
    with_port = re.fullmatch(r"([\d.]+):\d+", text)
    if bracketed or with_port:
        text = (bracketed or with_port)[1]  # type: ignore[index]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if isinstance(mapped, ipaddress.IPv4Address) else address


@dataclass(frozen=True)
class Estimate:
    """The most that a request may use, in tokens; `model` is whose price it has."""

    input_tokens: int = 0
    output_tokens: int = 0
    model: str | None = None

    @property
    def tokens(self) -> int:
        """Both kinds together."""
        return self.input_tokens + self.output_tokens


def may_be_json(start: bytes) -> bool:
    """Whether a body that begins so may be a JSON object, in any encoding that JSON may have."""
    return start.lstrip(b" \t\r\n\x00\xef\xbb\xbf\xff\xfe")[:1] in (b"{", b"")


def estimate(body: bytes, path: str = "", most_tokens: int = MOST_TOKENS) -> Estimate:
    """The estimate that a body gives: its caps on output, and a third of its bytes for the prompt.

    A body that is no JSON object asks no model, and holds no tokens; neither does one that names no model and no cap,
    where its path names no model either, as Gemini's and Azure's do.
    """
    try:
        # Whole numbers may have more digits than Python reads as such.
        asked = json.loads(body, parse_int=float)
    except RecursionError:  # others may read it
        return unread(body, path, most_tokens) if may_be_json(body[:64]) else Estimate()
    except ValueError:
        return Estimate()
    if not isinstance(asked, dict):
        return Estimate()
    model, of_path = asked.get("model"), _OF_MODEL.search(path)
    if model is None and of_path is None and not _caps(asked):
        return Estimate()
    known, model = unread(body, path, _cap(asked, most_tokens)), of_path["model"] if model is None and of_path else model
    return replace(known, model=cut(model, 128) or None) if isinstance(model, str) else known


def unread(body: bytes, path: str, output_tokens: int) -> Estimate:
    """The estimate of what may ask a model and names none that can be read."""
    return Estimate(-(-len(body) // _BYTES_PER_TOKEN), 0 if path.endswith(_WITHOUT_OUTPUT) else output_tokens)


def _caps(asked: dict[str, Any]) -> list[Any]:
    """What caps the output, in any dialect."""
    inner = asked.get("generationConfig")
    inner = inner.get("maxOutputTokens") if isinstance(inner, dict) else None
    return [asked[name] for name in _CAPS if asked.get(name) is not None] + ([inner] if inner is not None else [])


def _cap(asked: dict[str, Any], most_tokens: int) -> int:
    caps = [_whole(value) for value in _caps(asked)]
    known = [cap for cap in caps if cap is not None]
    most = max(known) if known and len(known) == len(caps) else max([most_tokens, *known])
    answers = max(_whole(asked.get("n")) or 1, _whole(asked.get("best_of")) or 1)
    return min(most * answers, _MOST_CAP)


def _whole(value: object) -> int | None:
    if not isinstance(value, float) or not math.isfinite(value) or value <= 0:
        return None
    return math.ceil(min(value, _MOST_CAP))
