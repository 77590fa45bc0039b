"""What one sidecar takes and sends, to be multiplied by the number of sandboxes: memory, log lines, OTLP over HTTP with
gzip. In a namespace of its own with a name server and a collector behind it; as root.

    fleet.py BINARY [SECONDS]      SECONDS (60) of one distinct name a second for each line about logs
"""

import contextlib
import json
import os
import pathlib
import re
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from tests.support import dnsclient, sidecar
from tests.support.collector import HttpCollector
from tests.support.waiting import wait_until
from tests.support.world import World

COLLECTOR = "198.51.100.80"
ID = "0b9bcb1c-7a5e-4a3e-9f1f-0123456789ab"
POLICY = {"egress": [{"action": "allow", "target": "*.wild.test"}]}
# IP packets of both directions, as a network is billed for them.
COUNTERS = """
table inet fleet {
    counter telemetry {}
    chain in { type filter hook input priority 0; tcp dport 4318 counter name telemetry; }
    chain out { type filter hook output priority 0; tcp sport 4318 counter name telemetry; }
}
"""


class Fleet:
    def __init__(self, folder):
        self.folder = folder
        self.world = World(folder)
        self.world.internet.nft(COUNTERS)

    def wire_bytes(self):
        listing = self.world.internet.run("nft", "list", "counter", "inet", "fleet", "telemetry").stdout
        return int(re.search(r"bytes (\d+)", listing).group(1))

    @contextlib.contextmanager
    def running(self, **settings):
        """A sidecar as the pod of packaging/kubernetes has it, and its collector."""
        with contextlib.closing(HttpCollector(self.world.internet, (COLLECTOR, 4318))) as collector:
            one = sidecar.Sidecar(self.world.sandbox, self.folder, arguments=["--supervise"], RULES=POLICY, TOKEN="t",
                                  SANDBOX_ID=ID, ON_EXIT="remove", OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
                                  OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{COLLECTOR}:4318", **settings)
            try:
                yield one.wait_healthy(), collector
            finally:
                one.stop()

    def ask(self, seconds):
        """One name a second."""
        begin = time.monotonic()
        for i in range(seconds):
            dnsclient.ask(self.world.sandbox, f"package-{i}.wild.test")
            time.sleep(max(0, begin + i + 1 - time.monotonic()))


def memory(pid):
    rollup = pathlib.Path("/proc", str(pid), "smaps_rollup").read_text()
    return {name: int(value) / 1024 for name, value in re.findall(r"^(Rss|Private_Dirty):\s+(\d+)", rollup, re.M)}


def metrics(fleet, interval):
    with fleet.running(OTEL_LOGS_EXPORTER="none", OTEL_METRIC_EXPORT_INTERVAL=str(interval * 1000)) as (one, collector):
        fleet.ask(5)
        collector.wait_exports(2, "metrics")
        before, n = fleet.wire_bytes(), len(collector.exports)
        time.sleep(4.5 * interval)
        last, exports = collector.exports[-1], len(collector.exports) - n
        print(f"metrics: {len(last.body)} bytes a request ({len(last.plain)} without gzip), "
              f"{(fleet.wire_bytes() - before) / exports:.0f} with all packets")
        child, = pathlib.Path(f"/proc/{one.process.pid}/task/{one.process.pid}/children").read_text().split()
        for name, pid in ("sidecar", child), ("supervisor", one.process.pid):
            print(f"memory of the {name}: " + ", ".join(f"{key} {value:.1f} MiB" for key, value in memory(pid).items()))


def logs(fleet, seconds, delay):
    with fleet.running(OTEL_METRICS_EXPORTER="none", OTEL_BLRP_SCHEDULE_DELAY=str(delay * 1000)) as (one, collector):
        collector.wait_record(lambda record: True, delay + 10)  # those of the start
        before, n = fleet.wire_bytes(), len(collector.exports)
        fleet.ask(seconds)
        wait_until(lambda: len(outbound(collector)) == seconds, delay + 10, "all records")
        exports = collector.exports[n:]
        lines = [json.dumps(record, separators=(",", ":")) + "\n" for record in one.events("outbound")]
        print(f"logs, {delay} s to wait for others: {sum(len(export.body) for export in exports) / seconds:.0f} bytes a "
              f"record ({sum(len(export.plain) for export in exports) / seconds:.0f} without gzip), "
              f"{(fleet.wire_bytes() - before) / seconds:.0f} with all packets, {len(exports) / seconds:.2f} requests/s; "
              f"{sum(map(len, lines)) / len(lines):.0f} bytes a line")


def outbound(collector):
    return [record for record in collector.records() if record.event_name == "egress.outbound"]


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    sidecar.BINARY = os.path.realpath(sys.argv[1])
    seconds = int(sys.argv[2]) if len(sys.argv) == 3 else 60
    with tempfile.TemporaryDirectory(prefix="egress-fleet") as folder:
        fleet = Fleet(pathlib.Path(folder))
        try:
            metrics(fleet, 2)
            for delay in 1, 10, 30:
                logs(fleet, seconds, delay)
        finally:
            fleet.world.close()


main()
