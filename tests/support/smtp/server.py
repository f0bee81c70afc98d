"""A mail server for tests: aiosmtpd, which counts what it takes and treats recipients by their names.

    server.py JOURNAL [--port PORT] [--slow MILLISECONDS] [--tls starttls|smtps --certificate PEM --key PEM] [--user NAME --password WORD]

Prints its port, then serves until its standard input ends. Every message that it took is one line of JSON in JOURNAL. What comes before the
first `-` of a recipient's address says how it is treated:

    later1-…, later2-…   answered 451 once or twice, then taken (greylisting)
    never-…              answered 451 always
    full-…               the message is answered 452
    refused-…            answered 550
    lost-…               the message is taken, and the connection broken before the answer
    dropped-…            the connection is broken after the content, and the message not kept

With a user it takes mail from nobody else; each try to sign in is a line of JOURNAL.signed: `right` or `wrong`, and whether the connection was
encrypted.
"""

import argparse
import asyncio
import email
import email.policy
import json
import ssl
import sys
import time
from collections import Counter

from aiosmtpd.smtp import SMTP, AuthResult


class Counting:
    def __init__(self, journal, slow):
        self.journal = open(journal, "a", buffering=1)
        self.slow = slow
        self.tries = Counter()

    async def handle_RCPT(self, server, session, envelope, address, options):
        kind = address.split("-")[0]
        self.tries[address] += 1
        if kind == "refused":
            return "550 5.1.1 no such mailbox"
        if kind == "never" or (kind[:-1] == "later" and self.tries[address] <= int(kind[-1])):
            return "451 4.7.1 greylisted, come back later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if self.slow:
            await asyncio.sleep(self.slow / 1000)
        to = envelope.rcpt_tos[0]
        kind = to.split("-")[0]
        if kind == "full":
            return "452 4.3.1 the disk is full"
        if kind != "dropped":
            self.write(to, envelope.content, encrypted(server))
        if kind in ("lost", "dropped"):
            server.transport.abort()
        return "250 OK"

    def write(self, to, content, encrypted):
        message = email.message_from_bytes(content, policy=email.policy.default)
        body = message.get_body(("plain",)).get_content()
        headers = {name.lower(): str(value) for name, value in message.items()}
        self.journal.write(json.dumps({"to": to, "at": time.time(), "encrypted": encrypted, "headers": headers, "text": body}) + "\n")


def encrypted(server):
    return server.transport.get_extra_info("sslcontext") is not None


def doorkeeper(words):
    journal = open(words.journal + ".signed", "a", buffering=1)

    def check(server, session, envelope, mechanism, auth_data):
        right = (auth_data.login, auth_data.password) == (words.user.encode(), words.password.encode())
        journal.write(json.dumps({"right": right, "encrypted": encrypted(server)}) + "\n")
        return AuthResult(success=right, handled=False)

    return check


async def main():
    words = argparse.ArgumentParser()
    words.add_argument("journal")
    words.add_argument("--port", type=int, default=0)
    words.add_argument("--slow", type=float, default=0)
    words.add_argument("--tls", choices=["starttls", "smtps"])
    words.add_argument("--certificate")
    words.add_argument("--key")
    words.add_argument("--user")
    words.add_argument("--password")
    words = words.parse_args()
    handler = Counting(words.journal, words.slow)
    loop = asyncio.get_running_loop()
    context, more = None, {"enable_SMTPUTF8": True}
    if words.tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(words.certificate, words.key)
    if words.tls == "starttls":
        more["tls_context"] = context
    if words.user:
        # It would take the password in the clear: that it does not come so is the client's doing.
        more |= {"authenticator": doorkeeper(words), "auth_required": True, "auth_require_tls": False}
    implicit = context if words.tls == "smtps" else None
    server = await loop.create_server(lambda: SMTP(handler, **more), "127.0.0.1", words.port, ssl=implicit)
    print(server.sockets[0].getsockname()[1], flush=True)
    # It goes with the test that started it, also when that is killed.
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


asyncio.run(main())
