"""Flux beside a case: its kustomize-controller as a process, and the documents that it applies into a namespace.

The documents are an `ExternalArtifact` of Flux's, an archive behind a small server, as any source that is not Flux's own. Must not know: what any case is about.
"""

import contextlib
import functools
import hashlib
import http.server
import io
import json
import os
import subprocess
import tarfile
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path

from harness import apply, kubectl, read, wait_for
from own_server import free_port

EVERY = "2s"


class _Archives(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Nothing that a reader of the results needs."""


class Flux:
    """What it applies into one namespace, and how often it looked."""

    def __init__(self, space, archives, port):
        self.space, self.archives, self.port, self.revision = space, archives, port, 0

    def applies(self, files):
        """These documents by their file, and no others, from now on; when this returns, Flux has applied them."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            for name, documents in files.items():
                text = "\n---\n".join(map(json.dumps, documents)).encode()
                entry = tarfile.TarInfo(f"{name}.yaml")
                entry.size = len(text)
                tar.addfile(entry, io.BytesIO(text))
        self.revision += 1
        name, data = f"{self.revision}.tar.gz", packed.getvalue()
        (self.archives / name).write_bytes(data)
        digest, now = f"sha256:{hashlib.sha256(data).hexdigest()}", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        artifact = {"url": f"http://127.0.0.1:{self.port}/{name}", "path": name, "digest": digest, "revision": f"main@{digest}", "lastUpdateTime": now, "size": len(data)}
        ready = {"type": "Ready", "status": "True", "reason": "Succeeded", "message": "stored", "lastTransitionTime": now}
        if self.revision == 1:
            source = {"kind": "ExternalArtifact", "name": "beta"}
            how = {"interval": EVERY, "retryInterval": EVERY, "prune": True, "path": "./", "targetNamespace": self.space, "sourceRef": source}
            apply([{"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "ExternalArtifact", "metadata": {"name": "beta"}, "spec": {}},
                   {"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": {"name": "beta"}, "spec": how}], namespace=self.space).must()
        status = json.dumps({"status": {"artifact": artifact, "conditions": [ready]}})
        kubectl("patch", "externalartifact", "beta", "--subresource=status", "--type=merge", f"-p={status}", namespace=self.space).must()

        def applied():
            assert self.status().get("lastAppliedRevision") == artifact["revision"], self.status()
            return True

        wait_for("Flux to apply it", applied)

    def status(self):
        return read("kustomization", "beta", self.space).get("status", {})

    def looked(self):
        """How often it has looked whether all is as it was told last."""
        newest = self.status()["history"][0]
        assert newest["lastReconciledStatus"] == "ReconciliationSucceeded", newest
        return newest["totalReconciliations"]

    def looks(self, times):
        until = self.looked() + times
        wait_for(f"Flux to look {times} times", lambda: self.looked() >= until)


@contextlib.contextmanager
def flux_into(space):
    home = Path(os.environ["BETAGATE_TEST_FLUX"])
    kubectl("apply", "--server-side", "-f", home / "definitions").must()
    kubectl("wait", "--for=condition=established", "--timeout=60s", "-f", home / "definitions").must()
    with tempfile.TemporaryDirectory(prefix="betagate-flux.") as folder:
        archives = Path(folder) / "archives"
        archives.mkdir()
        served = functools.partial(_Archives, directory=archives)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), served)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        words = [home / "kustomize-controller", "--watch-all-namespaces=false", "--feature-gates=ExternalArtifact=true", "--no-remote-bases", "--interval-jitter-percentage=0",
                 f"--metrics-addr=127.0.0.1:{free_port()}", f"--health-addr=127.0.0.1:{free_port()}", "--log-level=info"]
        log = Path(folder) / "flux.log"
        with open(log, "ab") as said:
            process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *map(str, words)], stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                                       env=os.environ | {"RUNTIME_NAMESPACE": space, "TMPDIR": folder})
        try:
            yield Flux(space, archives, server.server_port)
        except BaseException:
            print(f"--- Flux\n{log.read_text(errors='replace')[-4000:]}", flush=True)
            raise
        finally:
            process.kill()
            process.wait()
            server.shutdown()
