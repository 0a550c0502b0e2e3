"""A client that dies: ``create``, ``delete`` or ``collect`` in a process of its own, killed at a commit.

Reads one request per line, ``{"home": …, "verb": …, "side": "before" | "after", "commit": n}``, forks a
client for it (the imports are paid once) and answers with how that ended. Commits are counted from 1, the
journal's own first row aside. The product knows nothing of this: the journal is subclassed here.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from gpuforge.models.clock import SystemClock
from gpuforge.models.plan import Option, Plan
from gpuforge.models.resources import Need
from gpuforge.providers.registry import load
from gpuforge.provision.context import Context
from gpuforge.provision.create import create_cluster
from gpuforge.provision.reconcile import collect, needs_collect
from gpuforge.provision.teardown import delete_cluster
from gpuforge.state.journal import Journal
from gpuforge.state.paths import Paths
from gpuforge.state.views import clusters, find_cluster, reservations

OWNER = "chaos"
NODES = 2


class DyingJournal(Journal):
    """Kills its own process around commit number ``commit``."""

    side = ""
    commit = 0
    count = 0

    def append(self, rows):
        if self.journal_id:
            self.count += 1
        doomed = self.count == self.commit and self.journal_id
        if doomed and self.side == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        written = super().append(rows)
        if doomed:
            os.kill(os.getpid(), signal.SIGKILL)
        return written


def make_plan(provider) -> Plan:
    image = provider.resolve_image(Query())
    offerings = [x for x in provider.list_offerings(Need()) if x.accelerator and x.accelerator.count == 1]
    here = [x for x in offerings if x.instance_type == offerings[0].instance_type][:2]
    options = tuple(
        Option(
            offering=offering,
            need=Need(),
            image=image,
            usd_per_hour=Decimal(1),
            worst_case_usd=Decimal(6),
        )
        for offering in here
    )
    now = datetime.now(UTC)
    return Plan(
        cluster_name="chaos",
        provider="fake",
        simulated=True,
        options=options,
        excluded=(),
        num_nodes=NODES,
        max_duration=timedelta(hours=6),
        made_at=now,
        deadline=now + timedelta(hours=6),
        autostop_minutes=20,
    )


class Query:
    name = None
    arch = "x86_64"
    needs_gpu = True


def client(home: str, verb: str, side: str, commit: int) -> dict:
    environ = {"GPUFORGE_HOME": home, "GPUFORGE_FAKE_MACHINES": "none", "GPUFORGE_FAKE_LATENCY": "0"}
    paths = Paths.from_environment(environ)
    clock = SystemClock()
    provider = load("fake", paths=paths, clock=clock, environ=environ)
    DyingJournal.side, DyingJournal.commit = side, commit
    with DyingJournal.open(paths.journal, head_path=paths.journal_head, clock=clock) as journal:
        context = Context(
            provider=provider,
            journal=journal,
            paths=paths,
            clock=clock,
            owner=OWNER,
            login=lambda _endpoint: None,
        )
        report = {}
        plan = make_plan(provider)
        if verb == "create":
            # the first zone is sold out, so the walk has two attempts
            sold_out = plan.options[0].offering
            provider.cloud.set_stock(sold_out.zone, sold_out.instance_type, 0)
            create_cluster(context, plan, labels={})
        elif verb == "delete":
            cluster = find_cluster(journal, "chaos")
            if cluster is not None:
                delete_cluster(context, cluster)
        else:
            report = {
                "strays": len(collect(context).strays),
                "still_needed": len(needs_collect(journal, paths)),
            }
        return {
            **report,
            "commits": journal.count,
            "behind": journal.behind,
            "states": [x.state for x in clusters(journal, include_gone=True)],
            "reservations": len(reservations(journal)),
            "instances": len(provider.cloud.everything()),
            "disks": len(provider.cloud.list_owned(OWNER).disks),
        }


def in_a_process(request: dict) -> dict:
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(readable)
        status = 1
        try:
            answer = client(**request)
            os.write(writable, json.dumps(answer).encode())
            status = 0
        finally:
            if status:
                traceback.print_exc()
            os._exit(status)
    os.close(writable)
    with os.fdopen(readable, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    return {"code": os.waitstatus_to_exitcode(status), "answer": json.loads(answer or "{}")}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(in_a_process(json.loads(line))), flush=True)  # noqa: T201 - read by the test
