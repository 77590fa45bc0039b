"""Crash, restart, stop, signals, a second instance, --cleanup: the sandbox is never open in between."""

import contextlib
import json
import signal
import threading
import time

import pytest

from tests.support import dnsclient, mounts, resolver as faults, ruleset
from tests.support.sidecar import Sidecar, command
from tests.support.tcpclient import connects, refusal_seconds
from tests.support.threads import threads
from tests.support.waiting import PATIENCE, wait_until

RULES = {"egress": [{"action": "allow", "target": "*.allowed.test"}]}
PORT_TAKEN = 69


def _works(world):
    assert dnsclient.addresses(dnsclient.ask(world.sandbox, "www.allowed.test")) == ["203.0.113.10"]
    assert connects(world.sandbox, "203.0.113.10")
    assert dnsclient.rcode(dnsclient.ask(world.sandbox, "www.other.test")) == "NXDOMAIN"
    refusal_seconds(world.sandbox, "203.0.113.66")


def _gets_no_answer(world, server="8.8.8.8"):
    with pytest.raises((OSError, dnsclient.Timeout)):
        dnsclient.ask(world.sandbox, "www.allowed.test", server=server, timeout=0.3)


class Burglar:
    """Tries one door after the other for as long as the `with` block lasts; none may ever open."""

    def __init__(self, namespace, *addresses):
        self._namespace, self._addresses = namespace, addresses
        self._ended, self.tries, self.opened = threading.Event(), 0, []
        self._thread = threading.Thread(target=self._try, daemon=True)

    def _try(self):
        while not self._ended.is_set():
            for address in self._addresses:
                self.tries += 1
                if connects(self._namespace, address, timeout=1):
                    self.opened.append(address)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join(10)
        assert self.tries > 10 and not self.opened, f"{self.opened} of {self.tries}"


def test_killed_sidecar_leaves_the_sandbox_closed_and_a_new_one_takes_over(world, start):
    sidecar = start(RULES=RULES)
    _works(world)
    with Burglar(world.sandbox, "203.0.113.66", "2001:db8:1::66"):
        for _ in range(3):
            sidecar.kill()
            assert world.sandbox.table()
            refusal_seconds(world.sandbox, "203.0.113.66")
            _gets_no_answer(world)
            sidecar.restart().wait_healthy()
            _works(world)


def test_table_of_somebody_else_under_our_name_is_taken_over(world, start):
    world.sandbox.nft("""
        table inet opensandbox {
            set allow_v4 { type ipv4_addr; flags interval; elements = { 203.0.113.66 } }
            set dyn_allow_v4 { type ipv4_addr; flags timeout; timeout 60s; }
            set deny_v6 { type ipv4_addr; }
            chain egress { type filter hook output priority -5; policy drop; ip daddr @allow_v4 accept; }
            chain stranger { type filter hook output priority 50; policy accept; }
        }""")
    start(RULES=RULES)
    _works(world)
    assert "stranger" not in world.sandbox.table()


def test_terminated_sidecar_keeps_the_sandbox_closed(world, start):
    sidecar = start(RULES=RULES)
    _works(world)
    with Burglar(world.sandbox, "203.0.113.66"):
        assert sidecar.stop() == 0
        assert world.sandbox.table()
        refusal_seconds(world.sandbox, "203.0.113.66")
        _gets_no_answer(world)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_terminated_sidecar_takes_its_rules_away_when_told_to(world, start, number):
    sidecar = start(RULES=RULES, ON_EXIT="remove")
    refusal_seconds(world.sandbox, "203.0.113.66")
    sidecar.signal(number)
    assert sidecar.wait_end() == 0
    assert world.sandbox.table() is None
    assert connects(world.sandbox, "203.0.113.66")
    assert dnsclient.addresses(dnsclient.ask(world.sandbox, "www.other.test")) == ["203.0.113.66"]


def test_drain(world, start):
    sidecar = start(RULES=RULES, DRAIN_SEC="5")
    begin = time.monotonic()
    sidecar.signal(signal.SIGTERM)
    while time.monotonic() - begin < 1.5:
        _works(world)
        assert sidecar.request("GET", "/policy").status == 200
    assert sidecar.wait_end() == 0
    assert time.monotonic() - begin >= 5.0


def test_queries_under_way_are_answered_before_it_ends(world, start, resolver):
    odd = resolver("198.51.100.53", faults.good)
    sidecar = start(RULES=RULES, DNS_UPSTREAM="198.51.100.53")
    with dnsclient.tcp_socket(world.sandbox, "192.0.2.53") as sock:
        dnsclient.send_tcp(sock, dnsclient.question("slow.allowed.test"))
        faults.wait_asked(odd, "slow.allowed.test")
        sidecar.signal(signal.SIGTERM)
        assert dnsclient.addresses(dnsclient.receive_tcp(sock)) == ["203.0.113.10"]
    assert sidecar.wait_end() == 0


def test_silent_upstream_does_not_hold_the_end_up(world, start, resolver):
    odd = resolver("198.51.100.53", faults.silent)
    sidecar = start(RULES=RULES, DNS_UPSTREAM="198.51.100.53", DNS_UPSTREAM_TIMEOUT="60")
    with dnsclient.tcp_socket(world.sandbox, "192.0.2.53") as sock:
        dnsclient.send_tcp(sock, dnsclient.question("www.allowed.test"))
        faults.wait_asked(odd, "www.allowed.test")
        sidecar.signal(signal.SIGTERM)
        assert sidecar.wait_end(timeout=12) == 0


def test_no_new_questions_while_it_stops(world, start, resolver):
    """One query holds the end up, for the five seconds it may; who asks something new then gets no answer."""
    odd = resolver("198.51.100.53", faults.silent)
    sidecar = start(RULES=RULES, DNS_UPSTREAM="198.51.100.53", DNS_UPSTREAM_TIMEOUT="60")

    def ask(tcp=False):
        try:
            return dnsclient.ask(world.sandbox, "www.other.test", tcp=tcp, timeout=0.3)
        except (OSError, EOFError, dnsclient.Timeout):
            return None
    with dnsclient.tcp_socket(world.sandbox, "192.0.2.53") as sock:
        dnsclient.send_tcp(sock, dnsclient.question("www.allowed.test"))
        faults.wait_asked(odd, "www.allowed.test")
        wait_until(lambda: ask() and ask(tcp=True), what="answers")
        begin = time.monotonic()
        sidecar.signal(signal.SIGTERM)
        sidecar.wait_record(lambda r: r["msg"].startswith("stopping"))  # now no answer is not just a late one
        wait_until(lambda: ask() is None and ask(tcp=True) is None, what="the listeners to close")
        for _ in range(3):
            assert ask() is None and ask(tcp=True) is None
        dnsclient.send_tcp(sock, dnsclient.question("www.other.test"))
        assert sidecar.process.poll() is None, "it still waits for the one answer"
        assert sidecar.wait_end() == 0
        assert 4.5 < time.monotonic() - begin < 9 * PATIENCE
        with contextlib.suppress(ConnectionError):
            assert dnsclient.receive_tcp_wire(sock) is None


@pytest.fixture
def rules_dir(tmp_path):
    folder = tmp_path / "rules"
    folder.mkdir()
    return folder


def test_always_files(world, start, rules_dir):
    (rules_dir / "deny.always").write_text("# a comment\n\n  api.allowed.test\n203.0.113.13\n")
    (rules_dir / "allow.always").write_text("www.other.test # spare me\n203.0.113.64/26\napi.allowed.test\n")
    start(RULES={"egress": [{"action": "allow", "target": "*.allowed.test"},
                            {"action": "deny", "target": "www.other.test"},
                            {"action": "deny", "target": "203.0.113.0/24"}]})
    assert dnsclient.rcode(dnsclient.ask(world.sandbox, "api.allowed.test")) == "NXDOMAIN"
    assert dnsclient.rcode(dnsclient.ask(world.sandbox, "www.other.test")) == "NOERROR"
    assert connects(world.sandbox, "203.0.113.66"), "always-allowed beats a denied network of the policy"
    dnsclient.ask(world.sandbox, "v4only.allowed.test")
    refusal_seconds(world.sandbox, "203.0.113.13")


def test_hangup_reads_always_files_again(world, start, rules_dir):
    sidecar = start(RULES=RULES)
    _works(world)
    (rules_dir / "allow.always").write_text("203.0.113.66\n")
    (rules_dir / "deny.always").write_text("www.allowed.test\n203.0.113.11\n")
    sidecar.signal(signal.SIGHUP)
    sidecar.wait_event("updated", source="always")  # maybe of the first file alone
    wait_until(lambda: dnsclient.rcode(dnsclient.ask(world.sandbox, "www.allowed.test")) == "NXDOMAIN")
    refusal_seconds(world.sandbox, "203.0.113.10")
    assert connects(world.sandbox, "203.0.113.66")
    (rules_dir / "deny.always").unlink()
    sidecar.signal(signal.SIGHUP)
    wait_until(lambda: dnsclient.rcode(dnsclient.ask(world.sandbox, "www.allowed.test")) == "NOERROR")
    assert connects(world.sandbox, "203.0.113.10")


def test_hangup_reads_what_no_watch_can_see(world, start, tmp_path):
    """A file system that tells nothing of its changes, so that only the signal can be why the rules are read again."""
    below = tmp_path / "below"
    below.mkdir()
    (below / "deny.always").write_text("www.other.test\n")
    with mounts.overlay(tmp_path / "rules", below, tmp_path / "work"):
        sidecar = start(RULES=RULES)
        _works(world)
        (below / "deny.always").write_text("www.allowed.test\n")
        sidecar.signal(signal.SIGHUP)
        sidecar.wait_event("updated", source="always")
        assert dnsclient.rcode(dnsclient.ask(world.sandbox, "www.allowed.test")) == "NXDOMAIN"
        refusal_seconds(world.sandbox, "203.0.113.10")


def test_bad_always_file_keeps_the_last_good_rules(world, start, rules_dir):
    deny = rules_dir / "deny.always"
    deny.write_text("api.allowed.test\n")
    sidecar = start(RULES=RULES)
    deny.write_text("api.allowed.test\nhttps://nonsense/\n")
    sidecar.signal(signal.SIGHUP)
    sidecar.wait_record(lambda r: r["level"] == "error" and f"{deny}:2" in json.dumps(r))
    assert dnsclient.rcode(dnsclient.ask(world.sandbox, "api.allowed.test")) == "NXDOMAIN"


def test_always_rules_stay_through_policy_changes(world, start, rules_dir):
    (rules_dir / "deny.always").write_text("api.allowed.test\n203.0.113.66\n")
    sidecar = start(RULES=RULES)
    sidecar.request("POST", "/policy", {"defaultAction": "allow", "egress": [
        {"action": "allow", "target": "api.allowed.test"}, {"action": "allow", "target": "203.0.113.66"}]})
    assert dnsclient.rcode(dnsclient.ask(world.sandbox, "api.allowed.test")) == "NXDOMAIN"
    refusal_seconds(world.sandbox, "203.0.113.66")
    assert connects(world.sandbox, "203.0.113.13")
    assert "api.allowed.test" not in json.dumps(sidecar.request("DELETE", "/policy", ["api.allowed.test"]).json())
    assert sidecar.policy()["egress"] == [{"action": "allow", "target": "203.0.113.66"}]


def test_hangup_opens_log_files_again(world, start, tmp_path):
    log = tmp_path / "egress.log"
    sidecar = start(RULES=RULES, OPENSANDBOX_LOG_OUTPUT=f"stdout,{log}")
    sidecar.wait_event("loaded")
    wait_until(lambda: "egress.loaded" in log.read_text())
    moved = log.rename(tmp_path / "moved.log")
    sidecar.signal(signal.SIGHUP)
    wait_until(log.exists)
    before = moved.read_text()
    dnsclient.ask(world.sandbox, "www.other.test")
    wait_until(lambda: "egress.denied" in log.read_text())
    assert moved.read_text() == before


@pytest.mark.parametrize("mode", ["dns+nft", "dns+nft+audit"])
@pytest.mark.parametrize("settings", [{}, {"HTTP_ADDR": ":18081"}, {"DNS_PORT": "15354"}],
                         ids=["same", "other API port", "other DNS port"])
def test_second_instance_changes_nothing(world, start, tmp_path, settings, mode):
    sidecar = start(RULES=RULES, POLICY_FILE=str(tmp_path / "policy.json"), MODE=mode)
    sidecar.request("POST", "/policy", RULES)
    before = ruleset.settled(world.sandbox)
    second = Sidecar(world.sandbox, tmp_path, RULES={"defaultAction": "allow"}, MODE="dns+nft", **settings)
    assert second.wait_end() == PORT_TAKEN
    assert second.stderr.count("\n") == 1, second.stderr
    assert ruleset.at_rest(world.sandbox) == before
    if mode == "dns+nft":
        _works(world)
        assert sidecar.healthy()
    else:
        assert connects(world.sandbox, "203.0.113.66")
        assert sidecar.request("GET", "/healthz").status == 200


def test_cleanup(world, start):
    sidecar = start(RULES=RULES)
    sidecar.kill()
    for _ in range(2):
        done = command(world.sandbox, ["--cleanup"], {})
        assert done.returncode == 0, done.stderr
        assert world.sandbox.table() is None
    assert connects(world.sandbox, "203.0.113.66")
    assert dnsclient.addresses(dnsclient.ask(world.sandbox, "www.other.test")) == ["203.0.113.66"]


def test_idle_sidecar_wakes_twice_a_second_at_most(world, start, tmp_path):
    """All threads together. The log is a file, so that no reader is waited for; the folder above the rules is quiet."""
    folder = tmp_path / "quiet"
    (folder / "rules").mkdir(parents=True)
    sidecar = start(RULES=RULES, RULES_DIR=str(folder / "rules"), OPENSANDBOX_LOG_OUTPUT=str(tmp_path / "log"))
    _works(world)

    def switches():
        return sum(int(thread["voluntary_ctxt_switches"]) for thread in threads(sidecar.process.pid))

    def rate():
        before, since = switches(), time.monotonic()
        time.sleep(3)  # the time that is measured
        return (switches() - before) / (time.monotonic() - since)

    wait_until(lambda: rate() <= 2, timeout=15.0, what="an idle sidecar")
