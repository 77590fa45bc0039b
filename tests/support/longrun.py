"""What goes on around a sidecar under load, for tests/soak.py: a collector, log files, changes of the policy, and looking
at its memory."""

import collections
import gzip
import http.server
import os
import re
import signal
import socketserver
import threading
import time

from tests.support.memory import status_kib
from tests.support.waiting import wait_until

COLLECTOR = "192.0.2.80"
# What the load asks for is allowed throughout. The rest of a policy changes with every change of it: names and their
# addresses lose their permission, ranges come and go.
STEADY = [{"action": "allow", "target": f"*.{zone}.test"} for zone in ("wild", "many", "allowed")]
POLICIES = [{"egress": STEADY + [{"action": "allow", "target": "*.other.test"}]
             + [{"action": "allow", "target": f"10.9.{i}.0/24"} for i in range(40)]},
            {"egress": [{"action": "deny", "target": "www.other.test"}] + STEADY
             + [{"action": "deny" if i % 2 else "allow", "target": f"10.9.{i}.0/24"} for i in range(20, 60)]}]
EVENT = re.compile(rb'"opensandbox\.event":"egress\.(outbound|denied)".*"target\.host"')
TROUBLE = re.compile(rb'"level":"(warn|error|fatal)".*?"msg":"([^"]*)"')


class Collector:
    """Takes everything, and is there or not."""

    def __init__(self, namespace):
        self.namespace, self.exports, self._server = namespace, 0, None

    def come(self):
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                if not collector._server:  # connections outlive it
                    self.close_connection = True
                    return
                collector.exports += 1
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = allow_reuse_address = True

            def handle_error(self, *_):
                pass

        with self.namespace.inside():
            self._server = Server((COLLECTOR, 4318), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def go(self):
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class Log:
    """The log file: moves it away once a cycle, and counts what was in those that are finished."""

    def __init__(self, folder):
        self.path = folder / "log" / "egress.log"
        self.path.parent.mkdir()
        self.events, self.troubles, self.bytes = collections.Counter(), collections.Counter(), 0
        self.moved, self.rotated = 0, 0

    def move(self, process):
        self.path.rename(self.path.with_name(f"moved-{self.moved}.log"))
        self.moved += 1
        process.send_signal(signal.SIGHUP)
        wait_until(self.path.exists, what="the log file that is opened anew")

    def read_finished(self, everything=False):
        """Counts, and removes. What the sidecar itself moved away is finished when it is compressed."""
        for path in list(self.path.parent.iterdir()):
            ours = path.name.startswith("moved-")
            if not (everything or ours or path.suffix == ".gz"):
                continue
            self.rotated += not ours and path != self.path
            with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as lines:
                for line in lines:
                    self._count(line)
            path.unlink()

    def _count(self, line):
        self.bytes += len(line)
        event = EVENT.search(line)
        if event:
            self.events[event[1].decode()] += 1
        elif trouble := TROUBLE.search(line):
            self.troubles[trouble[1].decode(), trouble[2].decode()] += 1


class Process:
    """Peaks of resident memory, anonymous memory and descriptors, cycle by cycle."""

    def __init__(self, pid):
        self.pid, self.cycles = pid, []

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def begin_cycle(self):
        self.cycles.append((0, 0, 0))

    def look(self):
        now = status_kib(self.pid, "VmRSS"), status_kib(self.pid, "RssAnon"), self.descriptors()
        self.cycles[-1] = tuple(map(max, self.cycles[-1], now))


class Changes:
    """Policies, one after the other; what went wrong, and how long each took."""

    def __init__(self, client):
        self.client, self.seconds, self.failures = client, [], []

    def change(self):
        policy = POLICIES[len(self.seconds) % len(POLICIES)]
        begin = time.monotonic()
        try:
            reply = self.client.request("POST", "/policy", policy)
            if reply.status != 200 or not self.client.healthy():
                self.failures.append(f"{reply.status} {reply.text}")
        except OSError as error:
            self.failures.append(str(error))
        self.seconds.append(time.monotonic() - begin)
