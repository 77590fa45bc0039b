"""What the whole program takes, in a namespace of its own with a name server behind it. As root, on a calm machine.

    daemon.py BINARY start [ROUNDS]      from exec until the first right answer and until /healthz says ok
    daemon.py BINARY policy RULES [SECONDS]
                                         changes of the policy, one after the other, and DNS beside them
    daemon.py BINARY idle [SECONDS]      memory, and wake-ups of each thread
    daemon.py BINARY collector [ROUNDS]  DNS, 3 s at a time, without a collector and with some that are no good
    daemon.py BINARY memory [MILLIONS]   after each million queries, with OTLP
    daemon.py BINARY otlp [ROUNDS]       denied names/s without OTLP, with metrics, and with logs as well

A tenth of the rules are addresses. A body may have 1 MiB, and 100,000 rules are more however short: beyond that the
policy comes from a file, and the changes are PATCHes of 3,000 addresses, after which all rules are compiled anew.
"""

import contextlib
import http.client
import json
import os
import pathlib
import re
import select
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from tests.support.memory import status_kib
from tests.support.sidecar import PORT, environment
from tests.support.threads import threads
from tests.support.world import UPSTREAM_V4, World

DNS_PORT = 15353
NETLINK_NETFILTER, NLM_F_REQUEST_ACK = 12, 5
BODY_MAX = 1 << 20
PATCH_RULES = 3000
PROBES_PER_S = 2000


def question(number, name):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return number.to_bytes(2, "big") + bytes.fromhex("01000001000000000000") + labels + bytes.fromhex("0000010001")


def policy(n, variant=0):
    """`n` rules; in the other variant a tenth of the addresses and of the names are others."""
    rules = [{"action": "allow", "target": "*.allowed.test"}]
    for i in range(n - 1):
        other = variant if i // 10 % 10 == 0 else 0
        if i % 10:
            rules.append({"action": "allow", "target": f"h{i}.x{other}.example"})
        else:
            number = (11 << 24) + 4 * i + 2 * other
            address = ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))
            rules.append({"action": "deny" if i % 20 else "allow", "target": address})
    return {"egress": rules}


def quantiles(values, unit="ms"):
    values = sorted(value * 1e3 for value in values)

    def at(share):
        return values[min(len(values) - 1, int(len(values) * share))]
    return f"median {statistics.median(values):.2f}, p99 {at(.99):.2f}, {values[0]:.2f} .. {values[-1]:.2f} {unit}"


class Bench:
    def __init__(self, binary):
        self.binary = binary
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="egress-bench"))
        (self.folder / "rules").mkdir()
        self.world = World(self.folder)

    @contextlib.contextmanager
    def running(self, rules, **more):
        (self.folder / "policy.json").write_text(json.dumps(rules))
        settings = environment({"MODE": "dns+nft", "DNS_UPSTREAM": UPSTREAM_V4, "MAX_RULES": "0",
                                "POLICY_FILE": str(self.folder / "policy.json"), "ON_EXIT": "remove",
                                "RULES_DIR": str(self.folder / "rules"),
                                "OPENSANDBOX_LOG_OUTPUT": str(self.folder / "log"), **more})
        with self.world.sandbox.inside():
            begin = time.perf_counter()
            process = subprocess.Popen([self.binary], env=settings, stdin=subprocess.DEVNULL)
        try:
            yield process, begin
        finally:
            process.terminate()
            process.wait()

    def forget_flows(self):
        """The namespace is as a new one: without entries of conntrack (IPCTNL_MSG_CT_DELETE of everything)."""
        with self.world.sandbox.inside():
            sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        with sock:
            sock.send(struct.pack("=IHHIIBBH", 20, 1 << 8 | 2, NLM_F_REQUEST_ACK, 1, 0, 0, 0, 0))
            sock.recv(4096)

    def resolver(self):
        with self.world.sandbox.inside():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect(("127.0.0.1", DNS_PORT))
        return sock

    def api(self):
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
        with self.world.sandbox.inside():
            connection.connect()
        return connection

    def answers(self):
        """Whether a name that is allowed gets its address now."""
        with self.resolver() as sock, contextlib.suppress(OSError):
            sock.send(question(1, "www.allowed.test"))
            if select.select([sock], [], [], 0.003)[0]:
                reply = sock.recv(512)
                return reply[3] & 15 == 0 and bytes((203, 0, 113, 10)) in reply
        return False

    def healthy(self):
        try:
            connection = self.api()
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except OSError:
            return False

    def until(self, condition):
        while not condition():
            pass
        return time.perf_counter()


def cpu_seconds(process):
    """Of all threads there are, and a process counts those that ended, too."""
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as stat:
        user, system = stat.read().rpartition(") ")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def start(bench, rounds="20"):
    for n in 10, 4096:
        answered, healthy, cpu = [], [], []
        for _ in range(int(rounds)):
            bench.forget_flows()
            with bench.running(policy(n)) as (process, begin):
                answered.append(bench.until(bench.answers) - begin)
                healthy.append(bench.until(bench.healthy) - begin)
                cpu.append(cpu_seconds(process))
        print(f"{n} rules: first answer {quantiles(answered)}; then /healthz {quantiles(healthy)}; "
              f"CPU until then {quantiles(cpu)}")


def post_until(bench, method, bodies, over, taken):
    connection = bench.api()
    while not over.is_set():
        begin = time.perf_counter()
        connection.request(method, "/policy", bodies[len(taken) % 2])
        reply = connection.getresponse()
        text = reply.read()
        if reply.status != 200:
            sys.exit(f"{reply.status}: {text}")
        taken.append(time.perf_counter() - begin)


def ask_for(sock, seconds):
    taken, number, end = [], 0, time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        number = (number + 1) % 65536
        sock.send(question(number, "denied.test"))
        sock.recv(512)
        taken.append(time.perf_counter() - begin)
        time.sleep(1 / PROBES_PER_S)
    return taken


def change_policies(bench, n, seconds="10"):
    n = int(n)
    method, changes = "POST", [policy(n, 1), policy(n)]
    if len(json.dumps(changes[0])) > BODY_MAX:
        addresses = [rule["target"] for rule in changes[1]["egress"][1::10]][:PATCH_RULES]
        method, changes = "PATCH", [[{"action": action, "target": target} for target in addresses]
                                    for action in ("allow", "deny")]
    bodies = [json.dumps(change).encode() for change in changes]
    with bench.running(policy(n)), bench.resolver() as sock:
        bench.until(bench.healthy)
        connection, alone = bench.api(), []
        for i in range(20):
            # One that has nothing in common with it, so that everything is new.
            for body, kept in ((b"", []), (bodies[0], alone)) if method == "POST" else ((bodies[i % 2], alone),):
                begin = time.perf_counter()
                connection.request(method, "/policy", body)
                connection.getresponse().read()
                kept.append(time.perf_counter() - begin)
        print(f"{n} rules, {method} of {len(bodies[0])} bytes: {quantiles(alone)}")
        print(f"DNS alone: {quantiles(ask_for(sock, 2))}")
        over, taken = threading.Event(), []
        poster = threading.Thread(target=post_until, args=(bench, method, bodies, over, taken), daemon=True)
        poster.start()
        print(f"DNS beside changes back to back: {quantiles(ask_for(sock, float(seconds)))}")
        over.set()
        poster.join()
        print(f"the changes then: {quantiles(taken)}")


def idle(bench, seconds="10"):
    def switches(process):
        return {thread["Name"]: int(thread["voluntary_ctxt_switches"]) for thread in threads(process.pid)}

    with bench.running(policy(10)) as (process, _):
        bench.until(bench.healthy)
        time.sleep(2)
        before = switches(process)
        time.sleep(float(seconds))
        for name, count in switches(process).items():
            print(f"{name:16} {(count - before[name]) / float(seconds):.1f} wake-ups/s")
        rollup = pathlib.Path("/proc", str(process.pid), "smaps_rollup").read_text()
        print(", ".join(f"{name} {int(value) / 1024:.1f} MiB"
                        for name, value in re.findall(r"^(Rss|Anonymous):\s+(\d+)", rollup, re.M)))


def answer_and_close(listener, answer):
    """Without an answer it does not close either."""
    kept = []
    while True:
        kept.append(listener.accept()[0])
        if answer:
            with contextlib.suppress(OSError), kept.pop() as sock:
                sock.recv(1 << 16)
                sock.sendall(answer)


def take_everything(listener, _):
    def serve(sock):
        with sock, sock.makefile("rb", 1 << 18) as requests:
            while True:
                length = 0
                while line := requests.readline().strip():
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                if not length:
                    return
                requests.read(length)
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


BAD_COLLECTORS = {"hangs": None, "answers garbage": b"\xff" * 1000,
                  "dies in the middle": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"}
OTLP = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://192.0.2.80:4318", "OTEL_BLRP_SCHEDULE_DELAY": "50"}


@contextlib.contextmanager
def collector(bench, serve, answer=None):
    """In a process of its own: what it does must not hold up who measures."""
    with bench.world.internet.inside():
        listener = socket.create_server(("192.0.2.80", 4318), backlog=64)
    child = os.fork()
    if child == 0:
        serve(listener, answer)
    listener.close()
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def bad_collectors(bench, rounds="7"):
    """Each question is denied: a record each to export, and metrics five times a second."""
    taken = {kind: [] for kind in ("none", "refuses", *BAD_COLLECTORS)}
    for _ in range(int(rounds)):
        for kind, p99s in taken.items():
            with contextlib.ExitStack() as stack:
                if kind in BAD_COLLECTORS:
                    stack.enter_context(collector(bench, answer_and_close, BAD_COLLECTORS[kind]))
                export = {} if kind == "none" else {**OTLP, "OTEL_METRIC_EXPORT_INTERVAL": "200"}
                process, _ = stack.enter_context(bench.running(policy(10), **export))
                sock = stack.enter_context(bench.resolver())
                bench.until(bench.healthy)
                ask_for(sock, 0.5)
                p99s.append(statistics.quantiles(ask_for(sock, 3), n=100)[98])
                process.kill()
    for kind, p99s in taken.items():
        ratio = statistics.median(p99 / none for p99, none in zip(p99s, taken["none"]))
        print(f"{kind:18} p99: {quantiles(p99s)}; of none in the same round {ratio:.2f}")


def exporting(bench, rounds="5"):
    """Distinct denied names as fast as they are answered: a record each. Metrics and logs leave as their settings say."""
    names = bench.folder / "names"
    names.write_text("".join(f"h{i}.denied.test A\n" for i in range(200000)))
    load = ["dnsperf", "-s", "127.0.0.1", "-p", str(DNS_PORT), "-d", str(names), "-c", "20", "-q", "500", "-l", "3"]
    rates = {"without": [], "metrics": [], "metrics and logs": []}
    with collector(bench, take_everything):
        for _ in range(int(rounds)):
            for kind, list_ in rates.items():
                export = {} if kind == "without" else {**OTLP, "OTEL_METRIC_EXPORT_INTERVAL": "1000"}
                if kind == "metrics":
                    export["OTEL_LOGS_EXPORTER"] = "none"
                with bench.running(policy(10), **export):
                    bench.until(bench.healthy)
                    shown = bench.world.sandbox.run(*load).stdout
                    list_.append(float(re.search(r"Queries per second:\s+([\d.]+)", shown)[1]))
    for kind, list_ in rates.items():
        print(f"{kind:18} {statistics.median(list_):.0f} ({min(list_):.0f} .. {max(list_):.0f}) queries/s, "
              f"{statistics.median(list_) / statistics.median(rates['without']):.2f}")


def memory(bench, millions="10"):
    """Distinct names, one in five of them denied, with metrics and logs to a collector that takes everything."""
    names = bench.folder / "names"
    names.write_text("".join(f"h{i}.{'denied' if i % 5 == 0 else 'wild'}.test A\n" for i in range(500000)))
    load = ["dnsperf", "-s", "127.0.0.1", "-p", str(DNS_PORT), "-d", str(names), "-c", "20", "-q", "500", "-n", "2"]
    rules = policy(10)
    rules["egress"].append({"action": "allow", "target": "*.wild.test"})
    with collector(bench, take_everything), bench.running(rules, MODE="dns", **OTLP) as (process, _):
        bench.until(bench.healthy)
        time.sleep(2)
        for n in range(int(millions) + 1):
            print(f"{n:3} million queries: resident {status_kib(process.pid, 'VmRSS')} KiB, "
                  f"anonymous {status_kib(process.pid, 'RssAnon')} KiB", flush=True)
            if n < int(millions):
                bench.world.sandbox.run(*load, timeout=600)


COMMANDS = {"start": start, "policy": change_policies, "idle": idle, "collector": bad_collectors, "otlp": exporting,
            "memory": memory}


def main():
    if len(sys.argv) < 3 or sys.argv[2] not in COMMANDS:
        sys.exit(__doc__)
    bench = Bench(os.path.realpath(sys.argv[1]))
    try:
        COMMANDS[sys.argv[2]](bench, *sys.argv[3:])
    finally:
        bench.world.close()


if __name__ == "__main__":
    main()
