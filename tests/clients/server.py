"""The server: the real binary on a copy of the program of flags, with a member let in and a flag held."""

import email
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
MEMBER = "ada@clients.example"


def until(what, holds, seconds=30):
    """Waits for what is to come."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if found := holds():
                return found
        except (OSError, http.client.HTTPException, ValueError):
            pass
        time.sleep(0.05)
    raise SystemExit(f"never seen: {what}")


class Server:
    """`betagate up` on a free loopback port."""

    def __init__(self, binary, scratch):
        self.binary, self.data, self.folder = binary, scratch / "data", scratch / "program"
        shutil.copytree(HERE / "program", self.folder)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.tokens, self.guarded = {}, None
        self.env = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
        self.log = open(scratch / "up.log", "wb")  # noqa: SIM115
        up = [binary, "up", "--listen", f"127.0.0.1:{self.port}", "--data", self.data, self.folder]
        self.process = subprocess.Popen(up, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=self.env)
        try:
            self._get_ready()
        except BaseException:
            self.stop()
            print((scratch / "up.log").read_text())
            raise

    def ask(self, path, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        response = connection.getresponse()
        return response.status, json.loads(response.read() or "{}")

    def flag(self, key, person="u1"):
        return self.ask(f"/ofrep/v1/evaluate/flags/{key}", {"context": {"targetingKey": person}})[1]

    def _get_ready(self):
        until("the first flags", lambda: self.flag("boolean-on").get("value") is True)
        mail = until("the invite", lambda: next((self.data / "mail").glob("*.eml"), None))
        text = email.message_from_bytes(mail.read_bytes()).get_payload()
        code = text.split("Your code is ")[1].split(".")[0]
        status, answer = self.ask("/v1/auth/register", {"email": MEMBER, "password": "a long enough password", "invite": code})
        if status >= 300:
            raise SystemExit(f"the member was not let in: {status} {answer}")
        until("the member in the cohort", lambda: self.flag("insiders-only", MEMBER).get("value") is True)
        hold = [self.binary, "rollback", "start", "hold-one", "--reason", "the suite holds a flag", "--by", "keeper", "--data", self.data]
        subprocess.run(hold, check=True, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        until("the flag held", lambda: "betagate.hold" in self.flag("held").get("metadata", {}))

    def token(self, scope):
        """A token with this scope, made once."""
        if scope not in self.tokens:
            make = [self.binary, "admin", "token", "create", scope.replace(":", "-"), "--scope", scope, "--data", self.data]
            made = subprocess.run(make, check=True, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
            self.tokens[scope] = made.stdout.split()[-1]
        return self.tokens[scope]

    def guarded_port(self):
        """The port of an API process beside, which listens for more than this machine and so asks for tokens."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        database = f"sqlite:{self.data / 'betagate.db'}"
        api = [self.binary, "api", "--listen", f"0.0.0.0:{port}", "--data", self.data, "--database", database]
        self.guarded = subprocess.Popen(api, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=self.env)
        until("the server that asks for tokens", lambda: socket.create_connection(("127.0.0.1", port), timeout=10).close() is None)
        return port

    def change(self):
        """Another default for the flag `changing`, as an editor saves it."""
        file = self.folder / "flags/flags.yaml"
        text = file.read_text()
        (self.folder / "flags/.new").write_text(text.replace("new: after }, defaultVariant: old", "new: after }, defaultVariant: new"))
        (self.folder / "flags/.new").rename(file)

    def stop(self):
        for process in filter(None, (self.guarded, self.process)):
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.log.close()
