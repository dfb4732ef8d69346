"""What is asked, what is decided, and what was used: the shapes of `POST /v1/check` and `POST /v1/record`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional, TypedDict

JSON = dict[str, Any]

#: The status of a refusal by its reason; all others are 403.
STATUS = {
    "RATE_LIMIT_EXCEEDED": 429,
    "BUDGET_EXCEEDED": 429,
    "STORE_UNAVAILABLE": 503,
    "NO_KEY": 401,
}
#: Reasons for which waiting may help.
PASSING = frozenset({"RATE_LIMIT_EXCEEDED", "BUDGET_EXCEEDED", "STORE_UNAVAILABLE"})

_MESSAGES = {
    "API_KEY_BANNED": "This API key is banned.",
    "IP_BANNED": "This address is banned.",
    "PROJECT_BANNED": "The project of this API key is banned.",
    "RATE_LIMIT_EXCEEDED": "A rate limit of this API key is reached.",
    "BUDGET_EXCEEDED": "A budget of this API key is spent.",
    "KEY_NOT_ALLOWED": "This API key may not be used for this request.",
    "UNKNOWN_KEY": "This API key is not known.",
    "AMBIGUOUS_KEY": "The request names two different API keys.",
    "INVALID_REQUEST": "The API key or the request cannot be read.",
    "STORE_UNAVAILABLE": "API keys cannot be checked at the moment.",
    "NO_KEY": "The request has no API key.",
}


class Asked(TypedDict, total=False):
    """The fields of a question. `api_key` or `key_id` is required; what is not named is not sent.

    Token estimates are whole numbers, `estimated_cost_usd` is in US dollars, `lease_seconds` is 1 to 3600.
    """

    api_key: Optional[str]
    key_id: Optional[str]
    source_ip: str
    endpoint: str
    model: Optional[str]
    project_id: Optional[str]
    user_agent: Optional[str]
    user: Optional[str]
    estimated_tokens: Optional[int]
    estimated_input_tokens: Optional[int]
    estimated_output_tokens: Optional[int]
    estimated_cost_usd: Optional[float]
    lease_seconds: Optional[int]
    request_id: Optional[str]


class Counts(TypedDict, total=False):
    """What a request used, as its provider counted it. `tokens_used` is for whoever knows the sum alone."""

    tokens_used: Optional[int]
    prompt_tokens: Optional[int]
    completion_tokens: Optional[int]
    cached_tokens: Optional[int]
    cache_write_tokens: Optional[int]
    cache_write_1h_tokens: Optional[int]
    reasoning_tokens: Optional[int]
    images: Optional[int]
    seconds: Optional[float]
    characters: Optional[int]
    cost_usd: Optional[float]
    service_tier: Optional[str]


class Used(Counts, total=False):
    """What a request used; `model` is the one that answered, where it is another than the one that was asked."""

    model: Optional[str]


class Report(Asked, Counts, total=False):
    """A request that was made without a hold. `latency_ms` is in milliseconds."""

    response_status: int
    latency_ms: Optional[float]


@dataclass(frozen=True)
class Decision:
    """Whether a request may go on, and why not. It never holds the key itself."""

    allowed: bool
    reason: str | None = None
    action: str = "none"
    #: Seconds until it is worth to come back; absent where waiting helps neither now nor later.
    retry_after: int | None = None
    key_id: str | None = None
    reservation_id: str | None = None
    #: Keyward decided without its store, or this client without Keyward.
    degraded: bool = False
    #: Who decided: `keyward`, `cache` (the ban is known here) or `client` (Keyward did not answer, or no question was
    #: put to it).
    by: str = "keyward"
    #: The whole answer of Keyward.
    answer: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def status(self) -> int:
        """The HTTP status for this decision: 200, or 401, 403, 429, 503."""
        return 200 if self.allowed else STATUS.get(self.reason or "", 403)

    @property
    def message(self) -> str:
        """The refusal in a sentence."""
        return _MESSAGES.get(self.reason or "", "This request is refused.")

    @classmethod
    def of(cls, answer: JSON) -> Decision:
        """The decision in an answer of `POST /v1/check`."""
        return cls(
            allowed=answer["allowed"] is True,
            reason=answer.get("reason"),
            action=str(answer.get("action", "none")),
            retry_after=answer.get("retry_after_seconds"),
            key_id=answer.get("key_id"),
            reservation_id=answer.get("reservation_id"),
            degraded=answer.get("degraded") is True,
            answer=answer,
        )


def without_keyward(fail_open: bool) -> Decision:
    """The decision while Keyward does not answer."""
    reason = None if fail_open else "STORE_UNAVAILABLE"
    return Decision(allowed=fail_open, reason=reason, degraded=True, by="client")


def refusal(reason: str) -> Decision:
    """A refusal that needs no question."""
    return Decision(allowed=False, reason=reason, by="client")


def problem_body(decision: Decision) -> JSON:
    """The body of a refusal, which the SDKs of OpenAI and Anthropic turn into their typed errors."""
    kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error", 503: "api_error"}
    error = {"type": kinds[decision.status], "code": decision.reason, "message": decision.message}
    return {"type": "error", "error": error}


class Refused(Exception):
    """A request that may not be made. `decision` says why, and when to come back."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(f"{decision.reason}: {decision.message}")
        self.decision = decision
