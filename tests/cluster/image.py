#!/usr/bin/env python3
"""An OCI image without a container engine: image.py BINARY -o IMAGE.tar --name betagate.test/betagate:dev

Writes a tar of an OCI image layout with one uncompressed layer: the program, the shared libraries it is linked with (none of a static one), the
certificates of public authorities and the time zones where the machine has them, a /tmp; it runs as user 65532. Same input, same bytes. The image that people run is made
by the Dockerfile; this one lets tests run a build for development in a cluster, and needs neither an engine nor a second build.

    ctr -n k8s.io images import IMAGE.tar
"""

import argparse
import hashlib
import io
import json
import os
import platform
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path

USER = 65532
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
ZONES = Path("/usr/share/zoneinfo")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def shared_libraries(program):
    """The files that the loader needs for a program, the loader too. A static program has none."""
    said = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    return sorted({found for found in re.findall(r"(?:=> )?(/\S+) \(0x", said)})


def entry(name, size=0, mode=0o644, kind=tarfile.REGTYPE):
    info = tarfile.TarInfo(name.lstrip("/"))
    info.size, info.mode, info.type = size, mode, kind
    return info


def layer(files, folders):
    """A layer from (path in the image, bytes, mode) and (path, mode), owned by root, without times."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
        made = {}
        for path, mode in folders:
            made[path.strip("/")] = mode
        for path, _, _ in files:
            for parent in list(Path(path.strip("/")).parents)[:-1]:
                made.setdefault(str(parent), 0o755)
        for path in sorted(made):
            tar.addfile(entry(path, mode=made[path], kind=tarfile.DIRTYPE))
        for path, content, mode in sorted(files, key=lambda file: file[0]):
            tar.addfile(entry(path, len(content), mode), io.BytesIO(content))
    return packed.getvalue()


def write(output, names, content, config):
    """The image layout with one layer, under several names."""
    def described(media, data):
        return {"mediaType": f"application/vnd.oci.image.{media}", "digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data)}

    architecture = ARCHITECTURES.get(platform.machine(), platform.machine())
    about_layer = described("layer.v1.tar", content)
    configured = json.dumps({"architecture": architecture, "os": "linux", "config": config, "rootfs": {"type": "layers", "diff_ids": [about_layer["digest"]]}}).encode()
    about_config = described("config.v1+json", configured)
    manifest = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": about_config, "layers": [about_layer]}).encode()
    about = described("manifest.v1+json", manifest)
    index = {"schemaVersion": 2, "manifests": [about | {"annotations": {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rsplit(":", 1)[-1]}} for name in names]}
    with tarfile.open(output, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in [("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), ("index.json", json.dumps(index).encode())]:
            tar.addfile(entry(name, len(data)), io.BytesIO(data))
        for data in (manifest, configured, content):
            tar.addfile(entry(f"blobs/sha256/{hashlib.sha256(data).hexdigest()}", len(data)), io.BytesIO(data))


def program_image(program, output, names):
    """An image of one program, with what it is linked with."""
    with tempfile.TemporaryDirectory() as folder:
        # What only a debugger reads is most of a build for development.
        slim = Path(folder) / "slim"
        subprocess.run(["strip", "--strip-debug", "-o", slim, program], check=True)
        own = slim.read_bytes()
    name = Path(program).name
    files = [(f"/usr/bin/{name}", own, 0o755)]
    files += [(path, Path(os.path.realpath(path)).read_bytes(), 0o755) for path in shared_libraries(program)]
    files += [("/etc/passwd", f"{name}:x:{USER}:{USER}::/:/sbin/nologin\n".encode(), 0o644)]
    if CERTIFICATES.exists():
        files.append((str(CERTIFICATES), CERTIFICATES.read_bytes(), 0o644))
    files += [(str(path), path.read_bytes(), 0o644) for path in ZONES.rglob("*") if path.is_file() and path.relative_to(ZONES).parts[0] not in ("posix", "right")]
    content = layer(files, [("/tmp", 0o1777)])
    write(output, names, content, {"User": f"{USER}:{USER}", "Entrypoint": [f"/usr/bin/{name}"], "Env": ["PATH=/usr/bin"], "WorkingDir": "/"})


def pause_image(output, name):
    """What holds a pod's namespaces: a program that waits to be ended."""
    source = "#include <signal.h>\n#include <unistd.h>\n#include <sys/wait.h>\nstatic void end(int s) { _exit(0); }\nstatic void reap(int s) { while (waitpid(-1, 0, WNOHANG) > 0); }\n" \
             "int main(void) { signal(SIGINT, end); signal(SIGTERM, end); signal(SIGCHLD, reap); for (;;) pause(); }\n"
    with tempfile.TemporaryDirectory() as folder:
        code, built = Path(folder) / "pause.c", Path(folder) / "pause"
        code.write_text(source)
        subprocess.run(["cc", "-static", "-Os", "-s", "-o", built, code], check=True)
        content = layer([("/pause", built.read_bytes(), 0o755)], [])
    write(output, [name], content, {"User": "65535:65535", "Entrypoint": ["/pause"]})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--name", action="append", required=True)
    given = parser.parse_args()
    program_image(given.binary, given.output, given.name)


if __name__ == "__main__":
    main()
