"""A program of a user: its types are checked, and it is not run."""

import openai
from fastapi import FastAPI, Request

from keyward import AsyncKeyward, Decision, Estimate, Hold, Keyward
from keyward import Request as Seen
from keyward.asgi import KeywardMiddleware
from keyward.openai import wrap
from keyward.wsgi import KeywardMiddleware as WsgiMiddleware


def estimate(request: Seen) -> Estimate | None:
    return Estimate(10, 20, "gpt-4.1") if request.body else None


app = FastAPI()
app.add_middleware(
    KeywardMiddleware, url="http://127.0.0.1:8080", token=None, exclude=["/healthz"], fail_open=["/open"]
)
guarded = KeywardMiddleware(app, estimated_tokens=estimate, trusted_proxies=["10.0.0.0/8"])


@app.get("/")
async def root(request: Request) -> str:
    hold: Hold = request.scope["keyward"]
    hold.used(prompt_tokens=1)
    return "hello"


def application(environ: dict[str, object], start_response: object) -> list[bytes]:
    return []


wsgi = WsgiMiddleware(application, require_key=True)
client = Keyward(token="kw_a.b")
decision: Decision = client.check(key_id="team-a", source_ip="203.0.113.7")
with client.reserve(key_id="team-a", estimated_tokens=10) as held:
    held.used(5, model="gpt-4.1")
client.record(key_id="team-a", endpoint="/", tokens_used=3, latency_ms=1.5)
chat: openai.OpenAI = wrap(openai.OpenAI(), client, key_id="team-a")


async def main() -> None:
    async with AsyncKeyward() as loop, loop.acquire(key_id="team-a", deadline=5) as hold:
        hold.used(7)
    later: Hold = await AsyncKeyward().reserve(key_id="team-a")
    later.settle(200)
