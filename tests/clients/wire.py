"""What goes over the wire between the clients and the server, recorded byte by byte and read afterwards.

The clients' connections are passed through as they are, so nothing of them (headers, upgrades, kept connections) is other than
without it.
"""

import http.client
import io
import json
import socket
import threading
from dataclasses import dataclass


@dataclass
class Exchange:
    """One request and its answer."""

    client: str
    method: str
    path: str
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def __str__(self):
        return f"{self.client}: {self.method} {self.path} -> {self.status} {self.body[:300].decode('utf-8', 'replace')}"


class _Stream(io.BytesIO):
    """A stream of answers: reading one of them to its end closes nothing."""

    def makefile(self, *_):
        return self

    def close(self):
        pass


class Recorder:
    """Listens for one client, and passes all on to the server."""

    def __init__(self, client, server_port):
        self.client, self.server_port = client, server_port
        self.connections = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.base = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.server_port))
            sent, received = bytearray(), bytearray()
            self.connections.append((sent, received))
            for source, sink, record in ((near, far, sent), (far, near, received)):
                threading.Thread(target=_pass_on, args=(source, sink, record), daemon=True).start()

    def exchanges(self):
        """Everything so far, connection by connection. Event streams, which have no end, are left out."""
        found = []
        for sent, received in self.connections:
            requests, answers = io.BytesIO(bytes(sent)), _Stream(bytes(received))
            for method, path in _requests(requests):
                if "/events" in path:
                    break
                if answers.tell() == len(answers.getvalue()):
                    # The client went away before it was answered.
                    break
                answer = http.client.HTTPResponse(answers, method=method)
                answer.begin()
                found.append(Exchange(self.client, method, path, answer.status, answer.headers, answer.read()))
        return found


def _pass_on(source, sink, record):
    try:
        while data := source.recv(65536):
            record += data
            sink.sendall(data)
    except OSError:
        # What the other side has said already is still passed on.
        pass
    try:
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def _requests(stream):
    while line := stream.readline():
        method, path, _ = line.decode("latin-1").split(" ", 2)
        headers = http.client.parse_headers(stream)
        if headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int(stream.readline().split(b";")[0], 16):
                stream.read(size + 2)
            while stream.readline().strip():
                pass
        else:
            stream.read(int(headers.get("content-length", 0)))
        yield method, path


def faults_of(exchange, schema_of):
    """How an answer differs from the protocol; `schema_of` gives the validator of a shape, or none."""
    path = exchange.path.split("?")[0]
    if exchange.method == "OPTIONS" or "/ofrep/v1/evaluate/flags" not in path:
        return []
    if exchange.status == 304:
        faults = ["a 304 has no body"] if exchange.body else []
        return faults + ([] if exchange.headers.get("etag") else ["a 304 has an ETag"])
    shape = f"{'all' if path.endswith('/evaluate/flags') else 'one'}-{exchange.status}"
    validator = schema_of(shape)
    if validator is None:
        return [f"{exchange.status} is no status of the protocol"]
    if exchange.headers.get_content_type() != "application/json":
        return [f"the content type is {exchange.headers.get('content-type')}"]
    try:
        body = json.loads(exchange.body)
    except ValueError as why:
        return [f"the body is no JSON: {why}"]
    faults = [f"{shape}{error.json_path[1:]}: {error.message}" for error in validator.iter_errors(body)]
    if exchange.status == 200 and shape == "all-200" and not exchange.headers.get("etag"):
        faults.append("all flags come with an ETag")
    if exchange.status == 429 and not (exchange.headers.get("retry-after") or "").isdecimal():
        faults.append("a 429 has a Retry-After in whole seconds")
    return faults
