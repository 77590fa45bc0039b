"""The sidecar under a steady load for a long time, in a sandbox and an internet of its own. Use scripts/soak.

    soak.py BINARY [MINUTES [QUERIES_PER_S]]

While dnsperf asks, the policy changes once a second, a collector comes and goes, and the log is moved away and opened
anew. At the end stands a table of what was looked at, each line with its limit; the exit code is 1 when one is broken.

A cycle of 30 s is the measure of what goes up and down: memory and descriptors are compared by their peaks in one. Not
less than 2 minutes, or there is nothing to compare.
"""

import contextlib
import itertools
import os
import pathlib
import re
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from tests.support.hostile import SHARES
from tests.support.longrun import COLLECTOR, POLICIES, Changes, Collector, Log, Process
from tests.support.metrics import Scrape
from tests.support.sidecar import Client, environment
from tests.support.waiting import wait_until
from tests.support.world import UPSTREAM_V4, World

CYCLE_S, COLLECTOR_AWAY_S = 30, 10
WARM_UP_S = 390  # the longest lease, and a cycle; a third of a shorter run
WILD_NAMES, MANY_NAMES, DENIED_NAMES = 30_000, 1200, 2000
CLIENTS = 100
MINUTES_MIN = 2


def write_names(path):
    """One in seven denied; most of the others are more than the cache keeps."""
    wild = [f"h{i}.wild.test A" for i in range(WILD_NAMES)]
    many = itertools.cycle(f"host{i}.many.test {kind}" for i in range(MANY_NAMES) for kind in ("A", "AAAA"))
    denied = itertools.cycle(f"bad{i}.denied.test A" for i in range(DENIED_NAMES))
    other = itertools.cycle(["www.other.test A", "www.allowed.test AAAA", "edge.cdn.test A", "api.allowed.test A"])
    with open(path, "w", encoding="ascii") as names:
        for i, one in enumerate(wild):
            names.write(one + "\n")
            if i % 2:
                names.write(next(many) + "\n")
            if i % 4 == 0:
                names.write(next(denied) + "\n")
            if i % 50 == 0:
                names.write(next(other) + "\n")


def number(report, label):
    return float(re.search(rf"{label}:\s+([\d.]+)", report)[1])


class Soak:
    def __init__(self, binary, minutes, rate):
        self.binary, self.seconds, self.rate = binary, minutes * 60, rate
        self.instrumented = b"__tsan_init" in pathlib.Path(binary).read_bytes()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="egress-soak"))
        (self.folder / "rules").mkdir()
        self.rows, self.failed = [], False

    def check(self, what, value, limit, good, load=False):
        """`load`: says nothing when a sanitizer slows everything down, beside other tests."""
        if load and self.instrumented:
            limit, good = "", True
        self.failed |= not good
        self.rows.append((what, value, limit, "" if good else "BROKEN"))

    def run(self):
        os.nice(-15)  # for the name server: what else the machine does is no fault of the sidecar's
        world = World(self.folder)
        os.nice(15)
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            stack.callback(world.close)
            self._run(world, stack)
        widths = [max(len(row[i]) for row in self.rows) for i in range(3)]
        for row in self.rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, (*widths, 0))).rstrip())
        return self.failed

    def _run(self, world, stack):
        log, collector = Log(self.folder), Collector(world.internet)
        stack.callback(collector.go)
        self.errors = open(self.folder / "stderr", "w+b")
        sidecar = world.sandbox.popen(*SHARES, self.binary, stdout=self.errors, stderr=self.errors, env=environment({
            "MODE": "dns+nft", "DNS_UPSTREAM": UPSTREAM_V4, "RULES": POLICIES[1], "ON_EXIT": "remove",
            "RULES_DIR": str(self.folder / "rules"), "POLICY_FILE": str(self.folder / "policy.json"),
            "OPENSANDBOX_LOG_OUTPUT": str(log.path), "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{COLLECTOR}:4318",
            "OTEL_METRIC_EXPORT_INTERVAL": "5000"}))
        stack.callback(sidecar.kill)
        client = Client(world.sandbox)
        wait_until(client.healthy, timeout=30, what="/healthz")
        changes, process = Changes(client), Process(sidecar.pid)
        report = self._load(world, sidecar, log, collector, changes, process)
        if sidecar.poll() is not None:
            self.errors.seek(0)
            sys.exit(f"the sidecar ended with {sidecar.returncode}: {self.errors.read().decode(errors='replace')}")
        scrape, left = Scrape(client), process.descriptors()
        sidecar.send_signal(signal.SIGTERM)
        code = sidecar.wait(60)
        log.read_finished(everything=True)
        came = scrape.sum("egress_dns_queries_total")
        self._judge_answers(report, scrape, came)
        self._judge_changes(changes, collector)
        self._judge_log(log, came)
        self._judge_process(process, left, code)

    def _load(self, world, sidecar, log, collector, changes, process):
        """What dnsperf says; meanwhile everything else happens, second by second."""
        write_names(self.folder / "names")
        dnsperf = world.sandbox.popen(*SHARES, "dnsperf", "-s", UPSTREAM_V4, "-d", str(self.folder / "names"), "-Q",
                                      str(self.rate), "-l", str(self.seconds), "-c", str(CLIENTS), "-q", "4000",
                                      "-b", "4096", "-t", "5", stdout=open(self.folder / "dnsperf", "wb"),
                                      stderr=open(self.folder / "dnsperf.warnings", "wb"))
        reader = threading.Thread()
        begin = time.monotonic()
        for second in itertools.count():
            time.sleep(max(0.0, begin + second - time.monotonic()))
            if dnsperf.poll() is not None or sidecar.poll() is not None:
                break
            if second % CYCLE_S == 0:
                process.begin_cycle()
                collector.come()
            if second % CYCLE_S == CYCLE_S - COLLECTOR_AWAY_S:
                collector.go()
                log.move(sidecar)
                reader.join() if reader.ident else None
                reader = threading.Thread(target=log.read_finished)
                reader.start()
            changes.change()
            process.look()
        reader.join() if reader.ident else None
        return (self.folder / "dnsperf").read_text()

    def _judge_answers(self, report, scrape, came):
        sent, completed = number(report, "Queries sent"), number(report, "Queries completed")
        codes = re.search(r"Response codes:\s+(.*)", report)[1]
        per_s = number(report, "Queries per second")
        self.check("queries sent", f"{sent:.0f}, {per_s:.0f} a second", f"{self.rate} a second", per_s > 0.95 * self.rate,
                   load=True)
        self.check("of these came to the sidecar", f"{came:.0f}", "all", came >= sent, load=True)
        self.check("not answered", f"{sent - completed:.0f}", "0", sent == completed, load=True)
        self.check("answers", codes, "NOERROR, NXDOMAIN", set(re.findall("[A-Z]+", codes)) == {"NOERROR", "NXDOMAIN"},
                   load=True)
        limited = scrape.sum("egress_dns_limited_total")
        self.check("left unanswered because of a limit", f"{limited:.0f}", "0", not limited, load=True)

    def _judge_changes(self, changes, collector):
        ms = [second * 1e3 for second in changes.seconds]
        self.check("policy changes, each followed by /healthz", f"{len(ms)}, {statistics.median(ms):.1f} ms, "
                   f"{max(ms):.1f} at most", "", bool(ms))
        self.check("of these failed", f"{len(changes.failures)} {changes.failures[:3] or ''}", "0", not changes.failures)
        self.check("exports that a collector took", str(collector.exports), "some", collector.exports > 0)

    def _judge_log(self, log, came):
        events = log.events["outbound"] + log.events["denied"]
        self.check("log", f"{log.bytes >> 20} MiB, moved away {log.moved} times, rotated {log.rotated} times", "", True)
        self.check("records of queries in it", f"{events} of {came:.0f}", "all", events == came)
        errors = {text: n for (level, text), n in log.troubles.items() if level != "warn"}
        self.check("errors in the log", str(errors or 0), "0", not errors)
        for (level, text), n in log.troubles.items():
            if level == "warn":
                self.check(f"warning: {text[:48]}", str(n), "", True)

    def _judge_process(self, process, left, code):
        warm = min(WARM_UP_S, self.seconds / 3)
        cycles = process.cycles[int(-(-warm // CYCLE_S)):-1]  # the last one is cut short
        memory, anonymous, descriptors = zip(*cycles)
        third = max(1, len(cycles) // 3)
        first, last = statistics.median(memory[:third]), statistics.median(memory[-third:])
        growth = (last / first - 1) * 100
        self.check(f"memory: peaks of {len(cycles)} cycles after {warm:.0f} s",
                   f"{min(memory) / 1024:.1f} .. {max(memory) / 1024:.1f} MiB", "", True)
        self.check("... the first third's and the last's, medians",
                   f"{first / 1024:.1f}, {last / 1024:.1f} MiB: {growth:+.1f} %", "within 5 %", abs(growth) <= 5, load=True)
        self.check("... anonymous", f"{min(anonymous) / 1024:.1f} .. {max(anonymous) / 1024:.1f} MiB", "", True)
        self.check("descriptors: peaks of the same", f"{min(descriptors)} .. {max(descriptors)}", "equal within 3",
                   max(descriptors) - min(descriptors) <= 3)
        self.check("descriptors when the load had ended", str(left), f"{max(descriptors)}", left <= max(descriptors))
        self.errors.seek(0)
        told = self.errors.read().decode(errors="replace")
        self.check("end by SIGTERM", f"code {code}", "0", code == 0)
        self.check("standard error", told.splitlines()[0] if told else "empty", "empty", not told)
        if told:
            print(told)


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 4 or float((sys.argv[2:] or ["30"])[0]) < MINUTES_MIN:
        sys.exit(__doc__)
    sys.exit(Soak(sys.argv[1], float((sys.argv[2:] or ["30"])[0]), int((sys.argv[3:] or ["20000"])[0])).run())
