"""What betagate does while a part of the cluster is away: the API server, room in its etcd, fields of a definition."""

import contextlib
import json
import sqlite3
import time
import urllib.request

from harness import ROOT, apply, documents_of, kubectl, resource, wait_for
from own_server import beta, filler, free_port, own_server

# These do nothing to the cluster that the other cases share.
OWN_SERVER = True
# In seconds.
OUTAGE = 60


def _kpi(one):
    """What the small program has besides: a KPI in a database of the product's, and a plan that pulls another flag back and writes to the crew once it is missed."""
    with contextlib.closing(sqlite3.connect(one.folder / "shop.db")) as shop:
        shop.execute("CREATE TABLE orders (failed INTEGER NOT NULL)")
    program = {"sources": {"shop": {"database": {"url": f"sqlite:{one.folder / 'shop.db'}"}}}, "channels": {"crew": {"email": ["crew@example.com"]}}}
    kubectl("patch", "program", "small", "--type=merge", f"-p={json.dumps({'spec': program})}", namespace=one.space).must()
    texts = {"incident-note.txt": (ROOT / "cohorts/templates/incident-note.txt").read_text()}
    check = {"name": "failed", "sql": {"source": "shop", "query": "SELECT count(*) FROM orders WHERE failed = 1"}, "pass": "<= 3", "critical": True}
    steps = [{"freezeInvites": {"cohorts": "all"}}, {"disableFlags": {"keys": ["checkout"]}}, {"publishNote": {"to": ["crew"], "template": "incident-note", "within": "30m"}},
             {"captureRootCause": {"owner": "founder"}}]
    apply([
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "texts", "labels": {"betagate.dev/files": "templates"}}, "data": texts},
        resource("Flag", "checkout", program="small", type="boolean", variants={"on": True, "off": False}, defaultVariant="on", safeVariant="off"),
        resource("Gate", "orders", program="small", owner="founder", measure={"every": "2s"}, checks=[check]),
        resource("RollbackPlan", "orders", program="small", when=[{"gate": {"name": "orders", "verdict": "Fail", "critical": True}}], steps=steps),
    ], namespace=one.space).must()


def _orders_fail(one):
    with contextlib.closing(sqlite3.connect(one.folder / "shop.db")) as shop, shop:
        shop.executemany("INSERT INTO orders VALUES (?)", [(1,)] * 4)


def an_api_server_that_is_away_for_a_minute_delays_no_freeze_loses_nothing_and_costs_nobody_the_lead():
    with own_server() as server, beta("away") as one:
        health = free_port()
        leader = one.controller("first", f"--health=127.0.0.1:{health}")
        one.applied()
        # The first controller made the database and the keys.
        serves = one.api()
        _kpi(one)
        wait_for("the KPI to be met", lambda: one.state("gate/orders") == "Pass")
        wait_for("both flags to be served", lambda: (serves("new-feed"), serves("checkout")) == ("on", "on"))
        wait_for("that to be told", lambda: one.state("flag/checkout") == "Served")
        other = one.controller("second")
        wait_for("the other to wait", lambda: "another leads" in other.says())
        before = one.lease(), one.of_record("SELECT epoch, holder FROM leadership")
        # At first nobody says that it is gone.
        server.freeze()
        stopped = time.monotonic()
        _orders_fail(one)
        wait_for("the freeze, which lies in the database", one.frozen, 15)
        wait_for("the flag to be served safe", lambda: serves("checkout") == "off", 15)
        wait_for("the note to go out", lambda: one.mails("crew@example.com") == 1, 15)
        # A Lease has run out long since. What comes now is heard as well.
        time.sleep(max(0.0, OUTAGE / 2 - (time.monotonic() - stopped)))
        server.stop()
        assert serves("new-feed") == "on"
        one.down()
        wait_for("the flag of the other plan to be served safe", lambda: serves("new-feed") == "off", 15)
        # No injected clock can shorten a minute for two processes and a server.
        while time.monotonic() < stopped + OUTAGE:
            assert leader.runs() and other.runs()
            # Else a kubelet would restart it.
            for probe in ("healthz", "readyz"):
                urllib.request.urlopen(f"http://127.0.0.1:{health}/{probe}", timeout=10).close()
            time.sleep(1)
        server.start()
        one.caught_up()
        wait_for("the KPI's run to say what it holds", lambda: one.read("rollback/orders-1")["status"]["holds"][:2] == ["1 freezeInvites", "2 disableFlags"])
        wait_for("its cause document", lambda: kubectl("get", "configmaps", "-l", "betagate.dev/files=causes", "-o", "name", namespace=one.space).must().startswith("configmap/cause-orders-1-"))
        wait_for("its flag to say that it is held", lambda: one.state("flag/checkout") == "Held")
        wait_for("the gate to say so", lambda: one.state("gate/orders") == "Fail")
        wait_for("the cohort to say so", lambda: one.state("cohort/pavia") == "Frozen")
        # What is applied from now on is seen again.
        apply([resource("Flag", "later", program="small", type="boolean", variants={"on": True, "off": False}, defaultVariant="on")], namespace=one.space).must()
        wait_for("a new flag to be served", lambda: one.state("flag/later") == "Served")
        assert (one.lease(), one.of_record("SELECT epoch, holder FROM leadership")) == before, "the one that led goes on"
        assert leader.runs() and other.runs() and "this controller leads" not in other.says()
        # Everything once.
        assert kubectl("get", "rollbacks", "-o", "name", namespace=one.space).must().split() == [f"rollback.betagate.dev/{run}" for run in ("back-1", "orders-1")]
        steps = one.of_record("SELECT object, detail, count(*) FROM audit_log WHERE action IN ('StepInForce', 'RollbackStarted') GROUP BY object, detail")
        assert len(steps) == 8 and {count for *_, count in steps} == {1}, steps
        assert one.mails("crew@example.com") == 1


def a_leader_that_is_asked_to_end_hands_over_at_once():
    with own_server(), beta("handover") as one:
        leader = one.controller("first")
        one.applied()
        other = one.controller("second")
        wait_for("the other to wait", lambda: "another leads" in other.says())
        _, transitions = one.lease()
        assert leader.asked_to_end() == 0
        # Without having given it back, fifteen seconds would pass; the other looks every three.
        wait_for("the other to lead", lambda: one.lease() == ("second", transitions + 1), 10)
        one.down()
        one.caught_up()


def an_etcd_that_is_full_delays_no_freeze_and_what_was_refused_is_written_later():
    with own_server() as server, beta("full") as one:
        leader = one.controller("first")
        one.applied()
        blocks = []
        for n in range(60):
            block = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"block-{n}"}, "data": {"block": filler()}}
            if not apply([block], namespace="default", server_side=True).done:
                break
            blocks.append(f"block-{n}")
        refused = kubectl("create", "configmap", "one-more", namespace="default")
        refused.refused("space exceeded")
        one.down()
        wait_for("the freeze, which lies in the database", one.frozen, 15)
        wait_for("the flag to be served safe", lambda: one.served("new-feed") == "off", 15)
        assert one.state("flag/new-feed") == "Served", "what can be read is as it was written last"
        wait_for("it to be said", lambda: "it is tried again" in leader.says() or "can't be renewed" in leader.says())
        assert leader.runs()
        kubectl("delete", "configmap", *blocks, namespace="default").must()
        revision = server.etcd("kv/range", key="AA==")["header"]["revision"]
        server.etcd("kv/compaction", revision=revision, physical=True)
        server.etcd("maintenance/defragment")
        for alarm in server.etcd("maintenance/alarm", action="GET").get("alarms", []):
            server.etcd("maintenance/alarm", action="DEACTIVATE", memberID=alarm["memberID"], alarm=alarm["alarm"])
        one.caught_up()
        assert leader.runs()


def a_definition_that_lost_fields_takes_nothing_back_and_is_told():
    [whole] = documents_of("", ROOT / "crds/flags.yaml")
    with own_server(), beta("fields") as one:
        first = one.controller("first")
        one.applied()
        for field, of in (("variants", "spec"), ("summary", "status")):
            schema = whole["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][of]
            schema["properties"].pop(field)
            schema["required"] = [name for name in schema.get("required", []) if name != field]
        less = kubectl("replace", "-f", "-", stdin=json.dumps({key: value for key, value in whole.items() if key != "status"}))
        less.must()
        wait_for("the definition without the fields to be served", lambda: "variants" not in one.read("flag/new-feed")["spec"])
        kubectl("patch", "flag", "new-feed", "--type=merge", '-p={"spec":{"description":"the new feed"}}', namespace=one.space).must()

        def told():
            ready = one.condition("flag/new-feed", "Accepted")
            return ready and ready[0] == "False" and "variants" in ready[2] and "what it said before goes on" in ready[2]

        wait_for("the flag to say what it lacks", told)
        assert one.served("new-feed") == "on" and first.runs()
        # Also after a new start: what was accepted lies in the database.
        first.asked_to_end()
        second = one.controller("second")
        wait_for("the next to lead", lambda: one.lease()[0] == "second")
        one.down()
        wait_for("the freeze", one.frozen)
        wait_for("the flag to be served safe", lambda: one.served("new-feed") == "off")
        assert told() and second.runs()
        kubectl("apply", "--server-side", "--force-conflicts", "-f", ROOT / "crds/flags.yaml").must()
        variants = {"spec": {"variants": {"on": True, "off": False}}}
        wait_for("the fields to be served again", lambda: kubectl("patch", "flag", "new-feed", "--type=merge", f"-p={json.dumps(variants)}", namespace=one.space).done
                 and "variants" in one.read("flag/new-feed")["spec"])
        one.caught_up()
