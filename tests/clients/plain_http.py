"""What is checked over plain HTTP: every case on the wire, wrong requests, tags, and what a browser asks before it lets a page read."""

import http.client
import json
import socket
import time
from pathlib import Path
from urllib.parse import quote

FLAGS = "/ofrep/v1/evaluate/flags"
JSON = {"content-type": "application/json"}


class Http:
    """Asks over one connection."""

    def __init__(self, port, server_port):
        self.server_port = server_port
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def ask(self, path, body=b"{}", headers=None, method="POST"):
        try:
            self.connection.request(method, path, body, JSON | (headers or {}))
        except (BrokenPipeError, ConnectionResetError):
            # A body that is too large is refused before all of it is sent.
            pass
        response = self.connection.getresponse()
        answer = response.status, response.headers, response.read()
        if response.status == 413:
            # Nobody reads the rest of such a body.
            self.connection.close()
        return answer


def answer_of(case, body):
    """An answer on the wire as the table has it."""
    return {
        "name": case["name"],
        "value": body.get("value", case["default"]),
        "variant": body.get("variant"),
        "reason": body.get("reason"),
        "error": body.get("errorCode"),
    }


def cases(http, table):
    """Each case by itself, as the clients give it."""
    for case in table["cases"]:
        status, _, text = http.ask(f"{FLAGS}/{case['flag']}", json.dumps({"context": case["context"]}))
        body = json.loads(text)
        answer = answer_of(case, body)
        if "served" in case:
            # Only a client knows which type was asked for.
            yield case["name"], None if body.get("value") == case["served"] else f"served: {body}"
            continue
        wrong = None if status == case.get("status", 200) else f"status {status}: {body}"
        if case["type"] == "float" and "error" not in case and not isinstance(answer["value"], float):
            wrong = f"a float without its point: {text.decode()}"
        yield answer, wrong


def requests(http, table):
    """Requests that no client sends."""
    for request in table["requests"]:
        body = request["body"].encode() + b" " * request.get("padding", 0)
        status, _, text = http.ask(FLAGS + request["path"], body)
        wanted = request["status"] if isinstance(request["status"], list) else [request["status"]]
        error = json.loads(text).get("errorCode") if text else None
        right = status in wanted and ("error" not in request or error == request["error"])
        yield request["name"], None if right else f"{status} {text.decode()}"


def all_flags(http, table):
    """All flags at once say what each says by itself, and are not sent again when nothing changed."""
    for context in ({}, {"targetingKey": "u1", "plan": "pro"}, {"targetingKey": "ada@clients.example"}):
        body = json.dumps({"context": context})
        status, headers, text = http.ask(FLAGS, body)
        together = json.loads(text)
        keys = [flag["key"] for flag in together["flags"]]
        singles = [json.loads(http.ask(f"{FLAGS}/{key}", body)[2]) for key in keys]
        different = [pair for pair in zip(together["flags"], singles) if pair[0] != pair[1]]
        yield f"all flags of {context} are each as by itself", None if status == 200 and keys and not different else f"{different}"
        missing = {case["flag"] for case in table["cases"] if case.get("error") != "FLAG_NOT_FOUND"} - set(keys)
        yield f"all flags of {context} are there", None if not missing else f"missing: {missing}"

    body = json.dumps({"context": {"targetingKey": "u1", "plan": "pro"}})
    tag = http.ask(FLAGS, body)[1]["etag"]
    for name, sent in (("the tag", tag), ("a weak tag", f"W/{tag}"), ("one of several tags", f'"other", {tag}'), ("any tag", "*")):
        status, headers, text = http.ask(FLAGS, body, {"if-none-match": sent})
        right = status == 304 and text == b"" and headers["etag"] == tag
        yield f"{name} that is known gets 304", None if right else f"{status} {headers} {text}"
    same = json.dumps({"context": {"plan": "pro", "targetingKey": "u1"}})
    yield "the order of a context's fields is no difference", None if http.ask(FLAGS, same)[1]["etag"] == tag else "another tag"
    for name, context in (("another person", {"targetingKey": "u8", "plan": "pro"}), ("another context", {"targetingKey": "u1", "plan": "basic"})):
        status, headers, _ = http.ask(FLAGS, json.dumps({"context": context}), {"if-none-match": tag})
        yield f"{name} gets an answer and a tag of their own", None if status == 200 and headers["etag"] != tag else f"{status} {headers['etag']}"
    status = http.ask(FLAGS, body, {"if-none-match": '"other"'})[0]
    yield "a tag that is not known gets the answer", None if status == 200 else f"{status}"


def browser(http, _):
    """What a browser asks first, and which headers it then lets a page read."""
    wanted = "authorization,content-type,if-none-match,x-api-key"
    for path in (FLAGS, f"{FLAGS}/boolean-on"):
        asked = {"origin": "https://app.example", "access-control-request-method": "POST", "access-control-request-headers": wanted}
        status, headers, _ = http.ask(path, None, asked, "OPTIONS")
        allowed = {name.strip().lower() for name in headers.get("access-control-allow-headers", "").split(",")}
        right = (
            status in (200, 204)
            and headers.get("access-control-allow-origin") in ("*", "https://app.example")
            and "POST" in headers.get("access-control-allow-methods", "")
            and set(wanted.split(",")) <= allowed
        )
        yield f"a browser may ask {path}", None if right else f"{status} {headers}"
    tag = http.ask(FLAGS)[1]["etag"]
    for name, path, extra in (
        ("all flags", FLAGS, {}),
        ("a 304", FLAGS, {"if-none-match": tag}),
        ("one flag", f"{FLAGS}/boolean-on", {}),
        ("an error", f"{FLAGS}/nowhere", {}),
    ):
        _, headers, _ = http.ask(path, b"{}", {"origin": "https://app.example"} | extra)
        exposed = {name.strip().lower() for name in headers.get("access-control-expose-headers", "").split(",")}
        right = headers.get("access-control-allow-origin") in ("*", "https://app.example") and {"etag", "retry-after"} <= exposed
        yield f"a page may read {name}, its tag and when to come again", None if right else f"{headers}"


def freshness(http, _):
    """An answer that would be older than asked for is not given: the client is told when to come again."""
    started = time.monotonic()
    status, headers, text = http.ask(f"{FLAGS}?flagConfigLastModified=9999999999")
    took = time.monotonic() - started
    right = status != 200 and (headers.get("retry-after") or "").isdecimal() and took < 20
    yield "a freshness that cannot be reached: come again after whole seconds", None if right else f"{status} {headers} {text}"


def events(http_, _):
    """Word of a change: one that came before the stream was opened is told at once, in the protocol's shape."""
    from jsonschema import Draft202012Validator

    schema = json.loads((Path(__file__).parent / "ofrep-responses.schema.json").read_text())
    told = json.loads(http_.ask(FLAGS)[2])["eventStreams"][0]["endpoint"]["requestUri"]
    stream = http.client.HTTPConnection("127.0.0.1", http_.connection.port, timeout=30)
    stream.request("GET", f"{told.split('since=')[0]}since=0", headers={"origin": "https://app.example"})
    response = stream.getresponse()
    lines = iter(lambda: response.readline().decode().rstrip("\n"), "")
    fields = dict(line.split(": ", 1) for line in lines if not line.startswith(":"))
    kind, allowed = response.headers.get_content_type(), response.headers.get("access-control-allow-origin")
    stream.close()
    right = kind == "text/event-stream" and allowed in ("*", "https://app.example") and fields.get("event", "message") == "message"
    yield "a page may listen to a stream of events", None if right else f"{kind} {allowed} {fields}"
    data = json.loads(fields["data"])
    faults = [error.message for error in Draft202012Validator({"$ref": "#/$defs/event", "$defs": schema["$defs"]}).iter_errors(data)]
    yield "an event has the protocol's shape", None if not faults and fields.get("id") else f"{faults} {fields}"
    floor = f"?flagConfigEtag={quote(data['etag'])}&flagConfigLastModified={data['lastModified']}"
    status, _, text = http_.ask(FLAGS + floor)
    yield "the freshness that an event names is answered", None if status == 200 else f"{status} {text}"


def patience(http_, _):
    """Clients that send without end, never end, or never read: each is answered or closed, and the others are answered meanwhile."""
    # Not through the recorder: what is no request can't be read afterwards.
    port = http_.server_port
    head = f"POST {FLAGS}/boolean-on HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
    slow = socket.create_connection(("127.0.0.1", port), timeout=60)
    slow.sendall(f"{head}content-length: 40\r\n\r\n{{".encode())
    silent = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(50)]
    for stream in silent:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stream.sendall(b"GET /ofrep/v1/events?since=0 HTTP/1.1\r\nhost: a\r\n\r\n")
    statuses = {http_.ask(f"{FLAGS}/boolean-on", b'{"context":{}}')[0] for _ in range(300)}
    yield "others are answered beside a slow client and fifty that never read", None if statuses == {200} else f"{statuses}"
    told = b"".join(iter(lambda: slow.recv(4096), b"")).decode()
    right = told.startswith("HTTP/1.1 408 ") and "connection: close" in told and '"errorDetails"' in told
    yield "a body that does not arrive is given up", None if right else told
    for stream in silent:
        stream.close()

    endless = socket.create_connection(("127.0.0.1", port), timeout=60)
    told, waited = b"", None
    try:
        endless.sendall(f"{head}transfer-encoding: chunked\r\n\r\n".encode())
        for _ in range(1000):
            endless.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        waited = "64 MiB were taken"
    except TimeoutError:
        waited = "the server reads no more, and does not close"
    except OSError:
        pass
    try:
        told = endless.recv(4096)
    except TimeoutError:
        waited = "the server neither answers nor closes"
    except OSError:
        pass
    # What the kernel still held of the body when the server closed may cost the client the answer, but never the server.
    right = told == b"" or told.startswith(b"HTTP/1.1 413 ")
    yield "a body without end is refused", waited or (None if right else told.decode())
    for name, body, status, error in (
        ("a field 1,000 deep that no rule reads", '{"context":' + '{"other":' * 1000 + "1" + "}" * 1001, 200, None),
        ("a field 1,000 deep that the rule reads", '{"context":' + '{"plan":' * 1000 + "1" + "}" * 1001, 400, "PARSE_ERROR"),
        ("a list of a quarter million", '{"context":{"targetingKey":"u1","list":[' + "1," * 250_000 + "1]}}", 200, None),
        ("a list of a million", '{"context":{"targetingKey":"u1","list":[' + "1," * 1_000_000 + "1]}}", 413, "GENERAL"),
    ):
        got, _, text = http_.ask(f"{FLAGS}/plan", body)
        answer = json.loads(text) if text else {}
        yield name, None if got == status and answer.get("errorCode") == error else f"{got} {text[:300]}"


ALL = (cases, requests, all_flags, browser, events, freshness, patience)
