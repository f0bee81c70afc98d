"""A mail server for tests: aiosmtpd, which counts what it takes and treats recipients by their names.

    server.py JOURNAL [--port PORT] [--slow MILLISECONDS]

Prints its port, then serves until its standard input ends. Every message that it took is one line of JSON in JOURNAL. What comes before the
first `-` of a recipient's address says how it is treated:

    later1-…, later2-…   answered 451 once or twice, then taken (greylisting)
    never-…              answered 451 always
    full-…               the message is answered 452
    refused-…            answered 550
    lost-…               the message is taken, and the connection broken before the answer
    dropped-…            the connection is broken after the content, and the message not kept
"""

import argparse
import asyncio
import email
import email.policy
import json
import sys
import time
from collections import Counter

from aiosmtpd.smtp import SMTP


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
            self.write(to, envelope.content)
        if kind in ("lost", "dropped"):
            server.transport.abort()
        return "250 OK"

    def write(self, to, content):
        message = email.message_from_bytes(content, policy=email.policy.default)
        body = message.get_body(("plain",)).get_content()
        headers = {name.lower(): str(value) for name, value in message.items()}
        self.journal.write(json.dumps({"to": to, "at": time.time(), "headers": headers, "text": body}) + "\n")


async def main():
    words = argparse.ArgumentParser()
    words.add_argument("journal")
    words.add_argument("--port", type=int, default=0)
    words.add_argument("--slow", type=float, default=0)
    words = words.parse_args()
    handler = Counting(words.journal, words.slow)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(handler, enable_SMTPUTF8=True), "127.0.0.1", words.port)
    print(server.sockets[0].getsockname()[1], flush=True)
    # It goes with the test that started it, also when that is killed.
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


asyncio.run(main())
