"""Puts Keyward in front of a client of Anthropic: `wrap(Anthropic(), keyward, key_id="team-a")`.

Every call that names a model is asked about before it is made, with its caps and its size as the estimate, and reported
with what the answer says that it used, streamed or not. A stream that is not read to its end is charged the estimate.
Needs `keyward[anthropic]`.
"""

from ._provider import wrap

__all__ = ["wrap"]
