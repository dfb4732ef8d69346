"""A mail server (aiosmtpd) that writes each mail it takes as a line of JSON, parsed by Python's own library.

Its first line is the port. It ends when its standard input does. Arguments: a file with a certificate and its key, and
what encryption it is for: starttls or tls; none without.
"""

import asyncio
import json
import ssl
import sys
from email import message_from_bytes, policy

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


def say(value):
    print(json.dumps(value), flush=True)


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 5.1.1 no such user"
        if address.startswith("blocked@"):
            return "554 5.7.1 client host blocked"
        if address.startswith("content@"):
            return "554 5.6.0 content not supported"
        if address.startswith("later@"):
            return "451 4.7.1 try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = message_from_bytes(envelope.content, policy=policy.default)
        say({
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "encrypted": session.ssl is not None or sys.argv[2:] == ["tls"],
            "authenticated": bool(session.authenticated),
            "headers": {name: str(value) for name, value in mail.items()},
            "defects": [str(defect) for defect in mail.defects],
            "body": mail.get_content(),
        })
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    right = isinstance(data, LoginPassword) and data == LoginPassword(b"keyward", b"T0K-s3cr3t-never-shown")
    return AuthResult(success=right, handled=False)


async def serve():
    encryption = sys.argv[2] if len(sys.argv) > 2 else "none"
    context = None
    if encryption != "none":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[1])
    # What was encrypted from the first byte, the library does not know.
    own = {"auth_require_tls": encryption != "tls"}
    if encryption == "starttls":
        own |= {"tls_context": context, "require_starttls": True}

    def session():
        return SMTP(Handler(), authenticator=authenticate, hostname="mail.test", **own)

    wrapped = context if encryption == "tls" else None
    server = await asyncio.get_running_loop().create_server(session, "127.0.0.1", 0, ssl=wrapped)
    say(server.sockets[0].getsockname()[1])
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(serve())
