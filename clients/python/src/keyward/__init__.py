"""A client for Keyward, which watches API keys: ask before a request, report after it.

`Keyward` is for threads and `AsyncKeyward` for an event loop. `keyward.asgi` and `keyward.wsgi` are middleware,
`keyward.litellm` is a callback, `keyward.openai` and `keyward.anthropic` put a client in front of a provider.
"""

from ._client import AsyncKeyward, Keyward
from ._guard import Request
from ._hold import Hold
from ._reporter import Stats
from ._request import Estimate
from ._types import Asked, Decision, Refused, Used

__all__ = [
    "Asked",
    "AsyncKeyward",
    "Decision",
    "Estimate",
    "Hold",
    "Keyward",
    "Refused",
    "Request",
    "Stats",
    "Used",
]
__version__ = "0.1.0"
