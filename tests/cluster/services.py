"""What pods and tests measure and remember with: PostgreSQL and Prometheus at the cluster's address, from Debian's packages.

Must not know: Kubernetes.
"""

import os
import pwd
import shutil
from pathlib import Path

from control import answers, quietly

PASSWORD = "betagate-tests"
PROMETHEUS = """global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }
scrape_configs:
  - job_name: tests
    file_sd_configs: [ { files: ["TARGETS/*.json"], refresh_interval: 1s } ]
"""


def start_postgres(processes, folder, address):
    """Two ways in: the tests' own from here, as who may do everything; the pods' with a password. The environment that says so."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if not found:
        return {}
    bin_dir, data = found[-1].parent, folder / "postgres"
    data.mkdir()
    account = "postgres" if any(entry.pw_name == "postgres" for entry in pwd.getpwall()) else "nobody"
    shutil.chown(data, account)
    who = {"user": account, "group": pwd.getpwnam(account).pw_gid, "extra_groups": []}
    (data / "password").write_text(PASSWORD)
    shutil.chown(data / "password", account)
    quietly([bin_dir / "initdb", "-D", data / "data", "-U", "betagate", "-A", "scram-sha-256", f"--pwfile={data / 'password'}", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"], cwd=data, **who)
    rules = "host all all 127.0.0.1/32 trust\nhost all all 0.0.0.0/0 scram-sha-256\n"
    (data / "data/pg_hba.conf").write_text(rules)
    settings = ["fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=300", "shared_buffers=64MB", "timezone=UTC", f"listen_addresses=127.0.0.1,{address}"]
    # The server itself, not its parent: root is refused by it.
    words = ["--reuid", account, "--regid", str(who["group"]), "--clear-groups", bin_dir / "postgres", "-D", data / "data", "-p", "5432", "-k", data]
    processes.start("postgres", *words, *(word for setting in settings for word in ("-c", setting)), program="setpriv", cwd=data)
    processes.wait_for("postgres", lambda: os.system(f"{bin_dir}/pg_isready -q -h 127.0.0.1 -p 5432") == 0)
    return {
        "BETAGATE_TEST_POSTGRES": "postgres://betagate@127.0.0.1:5432/postgres",
        "BETAGATE_TEST_POSTGRES_FROM_PODS": f"postgres://betagate:{PASSWORD}@{address}:5432/postgres",
    }


def start_prometheus(processes, folder, address, program):
    """It scrapes what a test writes into BETAGATE_TEST_PROMETHEUS_TARGETS: Debian's finds no pods by itself."""
    if program is None:
        return {}
    targets, config = folder / "targets", folder / "prometheus.yml"
    targets.mkdir()
    targets.chmod(0o777)
    config.write_text(PROMETHEUS.replace("TARGETS", str(targets)))
    url = f"http://{address}:9090"
    processes.start("prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'prometheus'}", f"--web.listen-address={address}:9090", "--log.level=warn", program=program)
    processes.wait_for("prometheus", lambda: answers(f"{url}/-/ready"))
    return {"BETAGATE_TEST_PROMETHEUS": url, "BETAGATE_TEST_PROMETHEUS_TARGETS": str(targets)}
