"""What stands between betagate and the forge: it passes everything on, but for what it was told to fail.

    refuse   answers 503 and passes nothing on
    lose     passes it on, and loses the answer
"""

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Between:
    def __init__(self, port):
        self.faults, self.heard = [], []
        between = self

        class Handler(BaseHTTPRequestHandler):
            def pass_on(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                between.heard.append((self.command, self.path))
                fault = next((fault for fault in between.faults if fault[0] == self.command), None)
                if fault:
                    between.faults.remove(fault)
                if fault and fault[1] == "refuse":
                    self.send_response(503)
                    self.send_header("content-length", "0")
                    self.end_headers()
                    return
                forge = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
                forge.request(self.command, self.path, body, headers)
                answer = forge.getresponse()
                text = answer.read()
                if fault:
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                        self.send_header(name, value)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PATCH = pass_on

            def log_message(self, *words):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def fail(self, *faults):
        self.faults, self.heard = list(faults), []

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
