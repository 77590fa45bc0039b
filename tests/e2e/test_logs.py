"""Log lines: what is in them, which are left out, and that nobody who does not read them stops DNS."""

import contextlib
import datetime
import fcntl
import gzip
import hashlib
import json
import re
import struct
import time

import dns.rcode
import pytest

from tests.support import dnsclient, resolver as faults
from tests.support.sidecar import ROOT, Client
from tests.support.waiting import wait_until

RULES = {"egress": [{"action": "allow", "target": "*.allowed.test"}]}
ODD = "198.51.100.53"
F_SETPIPE_SZ = 1031


def test_every_line_has_the_common_fields(world, start):
    sidecar = start(RULES=RULES, SANDBOX_ID="sbx-1", METRICS_EXTRA_ATTRS="team=blue,=skipped,empty=,url=http://x/?a=b",
                    LOG_LEVEL="debug")
    dnsclient.ask(world.sandbox, "www.allowed.test")
    dnsclient.ask(world.sandbox, "www.other.test")
    sidecar.request("POST", "/policy", "{")
    sidecar.request("POST", "/policy", "")
    sidecar.wait_event("updated")
    sidecar.stop()
    for record in sidecar.records:
        assert list(record)[:4] == ["level", "ts", "logger", "msg"]
        assert record["level"] in ("debug", "info", "warn", "error")
        assert re.fullmatch(r"2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d\d:\d\d)", record["ts"])
        assert record["logger"] == "opensandbox.egress" and record["msg"]
        assert record["sandbox_id"] == "sbx-1" and record["team"] == "blue" and record["url"] == "http://x/?a=b"
        assert "empty" not in record and "" not in record


def _fields_of_lines():
    """The keys that the program's own lines have, as its sources write them."""
    calls = r'log_(?:str|int|bool|double|name|ips|json)\([^;]*?, "([^"]+)"'
    keys = {key for path in (ROOT / "src").rglob("*.c") for key in re.findall(calls, path.read_text())}
    assert {"target.host", "error", "rules", "lost", "network.peer.port"} <= keys
    return keys | {"level", "ts", "logger", "msg", "sandbox_id", "opensandbox.event"}


def _keys_of_points():
    sources = [(ROOT / "src/telemetry" / name).read_text() for name in ("instruments.c", "collect_points.c")]
    keys = set(re.findall(r'\{"([a-z.]+)",\s*(?:text|"\w+")\}|"(error\.type)"|\.key = "([\w.]+)"', "\n".join(sources)))
    keys = {key for row in keys for key in row if key}
    assert {"result", "proto", "limit", "cpu.mode", "error.type", "http.route", "otel.metric.overflow"} <= keys
    return keys


def test_extra_attributes_take_no_fields_place(world, start):
    keys = _fields_of_lines() | _keys_of_points()
    sidecar = start(SANDBOX_ID="sb-1", METRICS_EXTRA_ATTRS=",".join(f"{key}=theirs" for key in sorted(keys)) + ",own=mine")
    dnsclient.ask(world.sandbox, "www.other.test")
    sidecar.wait_event("denied", own="mine")
    for record in sidecar.records:
        assert "theirs" not in record.values(), record
    assert sum("METRICS_EXTRA_ATTRS" in record["msg"] for record in sidecar.records) == len(keys)


def test_every_field_is_documented():
    page = (ROOT / "docs/telemetry.md").read_text()
    assert not [key for key in _fields_of_lines() if f"`{key}`" not in page]


def test_loaded(start):
    sidecar = start(RULES=RULES)
    record = sidecar.wait_event("loaded")
    assert (record["level"], record["msg"]) == ("info", "egress policy loaded")
    assert (record["egress.default"], record["rules"]) == ("deny", RULES["egress"])
    assert len(sidecar.events("loaded")) == 1 and not sidecar.events("updated")


def test_updated(start):
    sidecar = start(RULES=RULES)
    b, c = {"action": "deny", "target": "B.test"}, {"action": "allow", "target": "10.0.0.0/8"}
    for method, body, default, rules in (
            ("POST", {"defaultAction": "allow", "egress": [b, c]}, "allow", [b, c]), ("PATCH", [c], "allow", [c]),
            ("DELETE", ["b.test"], "allow", [b]), ("PUT", "", "deny", [])):
        before = len(sidecar.events("updated"))
        assert sidecar.request(method, "/policy", body).status == 200
        wait_until(lambda: len(sidecar.events("updated")) == before + 1)
        record = sidecar.events("updated")[-1]
        assert (record["level"], record["msg"]) == ("info", "egress policy updated")
        assert (record["egress.default"], record["rules"]) == (default, rules)
    sidecar.request("DELETE", "/policy", ["nothing.test"])
    sidecar.request("POST", "/policy", RULES)
    sidecar.wait_event("updated", rules=RULES["egress"])
    assert len(sidecar.events("updated")) == 5, "a DELETE that found nothing is no update"


def test_update_failed(start, tmp_path):
    sidecar = start(RULES=RULES, MAX_RULES="1", POLICY_FILE=str(tmp_path / "missing" / "policy.json"))
    for method, body, level in (("POST", "{", "warn"), ("PATCH", "[]", "warn"), ("DELETE", "", "warn"),
                                ("PATCH", [{"action": "allow", "target": "one.more"}], "warn"), ("POST", "", "error")):
        before = len(sidecar.events("update_failed"))
        reply = sidecar.request(method, "/policy", body)
        wait_until(lambda: len(sidecar.events("update_failed")) == before + 1)
        record = sidecar.events("update_failed")[-1]
        assert (record["level"], record["msg"]) == (level, "egress policy update failed")
        assert record["error"] and record["error"] in reply.text


def test_what_is_no_failed_update(start):
    sidecar = start(RULES=RULES, TOKEN="t")
    auth = {"OPENSANDBOX-EGRESS-AUTH": "t"}
    assert sidecar.request("POST", "/policy", "{").status == 401
    assert sidecar.request("GET", "/nothing").status == 404
    assert sidecar.request("OPTIONS", "/policy", headers=auth).status in (401, 405)
    assert sidecar.request("POST", "/policy", "", {**auth, "If-Match": '"stale"'}).status == 412
    sidecar.wait_record(lambda r: r.get("http.response.status_code") == 412)
    assert not sidecar.events("update_failed")


def test_requests(start):
    sidecar = start(RULES=RULES, LOG_LEVEL="debug")
    sidecar.request("GET", "/policy?x=y")
    sidecar.request("GET", "/etc/passwd")
    record = sidecar.wait_record(lambda r: r["msg"] == "api request" and r["http.route"] == "/policy")
    assert (record["level"], record["http.request.method"], record["http.response.status_code"]) == ("info", "GET", 200)
    assert 0 <= record["duration"] < 5
    record = sidecar.wait_record(lambda r: r.get("http.response.status_code") == 404)
    assert "passwd" not in json.dumps(record), "a path that a stranger chose is no route"
    assert sidecar.wait_record(lambda r: r.get("http.route") == "/healthz")["level"] == "debug"


def test_outbound(world, start):
    sidecar = start(RULES=RULES)
    dnsclient.ask(world.sandbox, "WWW.Allowed.test")
    record = sidecar.wait_event("outbound", target_host="www.allowed.test")
    assert (record["level"], record["msg"]) == ("info", "egress outbound")
    assert record["target.ips"] == ["203.0.113.10"] and "error" not in record
    dnsclient.ask(world.sandbox, "api.allowed.test", "AAAA")
    record = sidecar.wait_event("outbound", target_host="api.allowed.test")
    assert record["target.ips"] == ["2001:db8:1::11"]


def test_one_outbound_record_per_query(world, start):
    sidecar = start(RULES={"egress": [{"action": "allow", "target": "*.many.test"}]})
    for i in range(300):
        dnsclient.ask(world.sandbox, f"host{i}.many.test")
    sidecar.wait_event("outbound", target_host="host299.many.test")
    assert [r["target.host"] for r in sidecar.events("outbound")] == [f"host{i}.many.test" for i in range(300)]


def test_denied(world, start):
    sidecar = start(RULES={"egress": [{"action": "deny", "target": "*.Other.test"}]})
    for name, rule in ("www.other.test", "*.Other.test"), ("elsewhere.test", "default"):
        dnsclient.ask(world.sandbox, name.upper())
        record = sidecar.wait_event("denied", target_host=name)
        assert (record["level"], record["msg"], record["rule"]) == ("info", "egress denied", rule)
    assert not sidecar.events("outbound")


def test_hostile_names_make_no_hostile_lines(world, start):
    sidecar = start(RULES=RULES)
    labels = b"\x09\"},{\"a\":\"\x06\n\r\t\0\x1b[\x04\xff\xc0\xaf\\\0"
    dnsclient.exchange_raw(world.sandbox, b"\0\1\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\1\0\1")
    record = sidecar.wait_event("denied")
    assert "a" not in record and re.fullmatch(r"[ -~]+", record["target.host"])


def test_log_skip(world, start, resolver, tmp_path):
    resolver(ODD, lambda r: (faults.failing(2) if r.name.startswith("bad.") else faults.good)(r))
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules/log_skip.always").write_text("*.quiet.allowed.test\n")
    sidecar = start(RULES=RULES, DNS_UPSTREAM=ODD, DNS_UPSTREAM_TIMEOUT="1")
    for name in "good.quiet", "bad.quiet", "good.loud":
        dnsclient.ask(world.sandbox, f"{name}.allowed.test")
    sidecar.wait_event("outbound", target_host="good.loud.allowed.test")
    assert sidecar.wait_event("outbound", target_host="bad.quiet.allowed.test")["error"]
    assert not sidecar.events("outbound", target_host="good.quiet.allowed.test")


@pytest.mark.parametrize("level, seen", [("debug", {"debug", "info", "warn"}), ("nonsense", {"info", "warn"}),
                                         ("WARNING", {"warn"}), ("error", set())])
def test_level(world, start, level, seen):
    sidecar = start(RULES=RULES, LOG_LEVEL=level)
    dnsclient.ask(world.sandbox, "www.other.test")
    sidecar.request("POST", "/policy", "{")
    sidecar.stop()
    assert {record["level"] for record in sidecar.records} == seen


def test_outputs(world, start, tmp_path):
    log = tmp_path / "egress.log"
    sidecar = start(RULES=RULES, OPENSANDBOX_LOG_OUTPUT=f" stderr , {log} ")
    dnsclient.ask(world.sandbox, "www.other.test")
    sidecar.stop()
    assert not sidecar.records
    lines = [line for line in sidecar.stderr.splitlines() if line.startswith("{")]
    assert lines == log.read_text().splitlines()
    assert any(json.loads(line).get("opensandbox.event") == "egress.denied" for line in lines)


def test_long_rules_give_way_to_a_digest(start):
    rules = [{"action": "allow", "target": f"name-{i}.test"} for i in range(300)]
    sidecar = start(RULES={"egress": rules})
    canonical = json.dumps(rules, separators=(",", ":")).encode()
    record = sidecar.wait_event("loaded")
    assert "rules" not in record and record["rules_count"] == 300
    assert record["rules_digest"] == hashlib.sha256(canonical).hexdigest()
    sidecar.request("POST", "/policy", {"egress": rules[:200]})
    assert sidecar.wait_event("updated")["rules_count"] == 200


def _missing(record):
    """How many records a record says did not get in: in the queue, or in an output that nobody read."""
    return record.get("dropped", 0) + record.get("lost", 0)


def test_nobody_reading_stdout_does_not_stop_dns(world, start):
    sidecar = start(RULES=RULES, read_stdout=False)
    fcntl.fcntl(sidecar.process.stdout, F_SETPIPE_SZ, 4096)
    name = ".".join(["x" * 60] * 4)
    wire = dnsclient.question(name + ".test").to_wire()
    with dnsclient.udp_socket(world.sandbox, "192.0.2.53") as sock:
        sock.settimeout(2)
        for i in range(1500):
            for j in range(32):
                sock.sendto(struct.pack("!H", i * 32 + j) + wire[2:], ("192.0.2.53", 53))
            for _ in range(32):
                assert sock.recv(1500)[3] & 0x0F == dns.rcode.NXDOMAIN
    begin = time.monotonic()
    assert dnsclient.addresses(dnsclient.ask(world.sandbox, "www.allowed.test")) == ["203.0.113.10"]
    assert time.monotonic() - begin < 2
    assert Client(world.sandbox).policy() == {**RULES, "defaultAction": "deny"}
    sidecar.drain_stdout()
    sidecar.wait_record(lambda r: r["level"] == "warn" and _missing(r) > 0, timeout=20)
    dnsclient.ask(world.sandbox, "later.other.test")
    sidecar.wait_event("denied", target_host="later.other.test")
    wait_until(lambda: len(sidecar.events("denied")) + sum(_missing(r) for r in sidecar.records) >= 1500 * 32 + 1,
               what="every record to be written or counted")


def test_full_pipe_does_not_hold_the_end_up(world, start):
    sidecar = start(RULES=RULES, read_stdout=False)
    fcntl.fcntl(sidecar.process.stdout, F_SETPIPE_SZ, 4096)
    for i in range(200):
        dnsclient.ask(world.sandbox, f"n{i}.other.test")
    sidecar.process.terminate()
    assert sidecar.wait_end(timeout=15) == 0


def _archived(path, when):
    """What a log file is called once it was full at that time (UTC)."""
    return path.with_name(when.strftime(f"{path.stem}-%Y-%m-%dT%H-%M-%S.000{path.suffix}.gz"))


def _log_of_almost_100_mb(path, room):
    with open(path, "wb") as file:
        file.truncate((100 << 20) - room)  # zeros that take no place on the disk


def _size(path):
    """0 when there is no such file, as in the moment of a rename."""
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _ago(path, **how_long):
    return _archived(path, datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(**how_long))


def test_log_file_of_100_mb_is_full_and_ten_are_kept(start, tmp_path):
    log, room = tmp_path / "egress.log", 100
    _log_of_almost_100_mb(log, room)
    earlier = [_ago(log, minutes=i) for i in range(1, 13)]
    for file in earlier:
        file.write_bytes(b"")
    start(OPENSANDBOX_LOG_OUTPUT=str(log))
    wait_until(lambda: 0 < _size(log) < 1 << 20, timeout=20, what="a new file")
    wait_until(lambda: not earlier[9].exists(), timeout=20, what="the oldest to make room for the one just full")
    new, = set(tmp_path.glob("egress-*")) - set(earlier)
    assert gzip.decompress(new.read_bytes()) == b"\0" * ((100 << 20) - room)
    assert [file.exists() for file in earlier] == [True] * 9 + [False] * 3


def test_log_file_of_less_goes_on_and_those_of_30_days_are_removed(start, tmp_path):
    log = tmp_path / "egress.log"
    _log_of_almost_100_mb(log, room=1 << 20)
    size = log.stat().st_size
    young, old = _ago(log, days=29, hours=23), _ago(log, days=30, hours=1)
    for file in young, old:
        file.write_bytes(b"")
    start(OPENSANDBOX_LOG_OUTPUT=str(log))
    wait_until(lambda: log.stat().st_size > size, timeout=20, what="a line in the same file")
    wait_until(lambda: not old.exists(), timeout=20, what="the old file to go")
    assert young.exists() and len(list(tmp_path.glob("egress-*"))) == 1
