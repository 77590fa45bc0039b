"""`opensandbox-egress ctl`: what a person and a script get, against a real sidecar."""

import fcntl
import http.server
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
import time

import pytest

from tests.e2e.test_policy_api import rules
from tests.support import dnsclient
from tests.support.hostile import hostile
from tests.support.metrics import Scrape
from tests.support.sidecar import BINARY, PORT, environment
from tests.support.tcpclient import connection, connects
from tests.support.waiting import PATIENCE, wait_until

NO, USAGE, DATA, NO_INPUT, UNAVAILABLE = 1, 64, 65, 66, 69
FAILED, OUTPUT, TEMPORARY, PROTOCOL, NO_PERMISSION = 71, 74, 75, 76, 77
POLICY = {"egress": rules("+*.allowed.test +198.51.100.0/24 -203.0.113.13"), "defaultAction": "deny"}
RED, GREEN = "\033[31m", "\033[32m"
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--no-new-privs")


@pytest.fixture
def ctl(world):
    """ctl(words, …) runs it in the sandbox; settings are its environment."""
    def run(words, stdin=None, through=(), **settings):
        return world.sandbox.run(*through, BINARY, "ctl", *(words.split() if isinstance(words, str) else words),
                                 env=environment(settings), input=stdin)
    return run


def _lines(done, code=0):
    assert (done.returncode, done.stderr) == (code, ""), done
    return [line.split() for line in done.stdout.splitlines()]


def _error(done, code, *says):
    assert done.returncode == code, done
    assert done.stderr.startswith("opensandbox-egress ctl: ") and done.stderr.count("\n") == 1, done.stderr
    for words in says:
        assert words in done.stderr


class Terminal:
    """A terminal of 80 columns and 24 rows that the command runs on; as it stands is what came last after clearing."""

    def __init__(self, world, words, **settings):
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
        env = {key: settings.pop(key) for key in ("TERM", "NO_COLOR") if key in settings}
        # Whoever started the tests may ignore what a key makes.
        self._process = world.sandbox.popen("env", "--default-signal", "setsid", "--ctty", BINARY, "ctl", *words.split(),
                                            stdin=slave, stdout=slave, stderr=slave,
                                            env={**environment(settings), **env})
        os.close(slave)
        os.set_blocking(self._master, False)
        self.shown = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._master)

    def _read(self):
        """False at the end."""
        try:
            piece = os.read(self._master, 65536)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self.shown += piece.decode().replace("\r\n", "\n")
        return bool(piece)

    def wait(self, condition, timeout=5.0):
        """The screen without colours, as soon as the condition likes it."""
        def find():
            assert self._read(), self.shown
            screen = re.sub("\033\\[[0-9]*m", "", self.shown.rpartition("\033[H\033[2J")[2])
            return condition(screen) and screen
        return wait_until(find, timeout, what="the screen")

    def press(self, keys):
        os.write(self._master, keys)

    def code(self):
        wait_until(lambda: not self._read(), timeout=20, what="the end")
        return self._process.wait(20 * PATIENCE)


def _on_terminal(world, words, **settings):
    with Terminal(world, words, **settings) as terminal:
        return terminal.code(), terminal.shown


# --- the policy ---

def test_get_shows_every_layer(start, ctl, tmp_path):
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules/deny.always").write_text("169.254.169.254\n")
    (tmp_path / "rules/allow.always").write_text("always.test\n")
    start(RULES=POLICY)
    done = ctl("policy get")
    assert _lines(done) == [
        line.split() for line in ("ACTION TARGET FROM", "deny 169.254.169.254 deny.always",
                                  "allow always.test allow.always", "allow *.allowed.test policy",
                                  "allow 198.51.100.0/24 policy", "deny 203.0.113.13 policy",
                                  "deny everything else default")]
    assert len({line.index(word) for line, word in zip(
        done.stdout.splitlines()[1:4], ("deny.always", "allow.always", "policy"))}) == 1, "columns are aligned"
    assert "\033" not in done.stdout
    assert json.loads(ctl("policy get --json").stdout)["policy"] == POLICY


def test_allow_deny_and_rm(world, start, ctl):
    sidecar = start(RULES=POLICY)
    assert not connects(world.sandbox, "203.0.113.10")
    assert _lines(ctl("policy allow www.other.test 203.0.113.10")) == [["+", "allow", "www.other.test"],
                                                                      ["+", "allow", "203.0.113.10"]]
    assert connects(world.sandbox, "203.0.113.10")
    assert sidecar.policy()["egress"] == rules("+www.other.test +203.0.113.10") + POLICY["egress"]
    assert _lines(ctl("policy deny www.other.test")) == [["-", "allow", "www.other.test"],
                                                        ["+", "deny", "www.other.test"]]
    with connection(world.sandbox, "203.0.113.10"):
        lines = _lines(ctl("policy rm 203.0.113.10 www.other.test"))
    assert lines[:2] == [["-", "deny", "www.other.test"], ["-", "allow", "203.0.113.10"]]
    ends = "open connection ends: tcp 203.0.113.10 port 80".split()
    assert lines[2:] in ([ends], [ends, ends]), "the first connection's server may not have closed it yet"
    assert sidecar.policy() == POLICY
    _error(ctl("policy rm nowhere.test"), NO, "no rule has such a target")
    _error(ctl("policy allow https://a.test/"), DATA, "https://a.test/")
    _error(ctl(["policy", "allow", 'a"b']), DATA)


def test_dry_run_changes_nothing(world, start, ctl):
    sidecar = start(RULES=POLICY)
    dnsclient.ask(world.sandbox, "www.allowed.test")
    for words, first in (("policy rm *.allowed.test", ["-", "allow", "*.allowed.test"]),
                         ("policy deny www.allowed.test", ["+", "deny", "www.allowed.test"]),
                         ("policy set -", ["-", "allow", "*.allowed.test"])):
        lines = _lines(ctl(f"{words} --dry-run", stdin="{}"))
        assert lines[0] == first and lines[-1] == "dry run: nothing was changed".split()
        assert "address 203.0.113.10 is refused: www.allowed.test".split() in lines
        forecast = json.loads(ctl(f"{words} --dry-run --json", stdin="{}").stdout)
        assert forecast["dryRun"] is True and forecast["revokedTotal"] == 1
    assert sidecar.policy() == POLICY and connects(world.sandbox, "203.0.113.10")
    _error(ctl("policy rm nowhere.test --dry-run"), NO, "no rule has such a target")


def test_set_takes_a_file_or_stdin(start, ctl, tmp_path):
    sidecar = start(RULES=POLICY)
    file = tmp_path / "new.json"
    file.write_text(json.dumps({"egress": rules("+a.test"), "defaultAction": "allow"}))
    assert _lines(ctl(f"policy set {file}"))[-2:] == [["+", "allow", "a.test"], "default: deny -> allow".split()]
    assert sidecar.policy() == {"egress": rules("+a.test"), "defaultAction": "allow"}
    assert _lines(ctl(f"policy set {file}")) == [["no", "difference"]]
    assert json.loads(ctl("policy set - --json", stdin=json.dumps(POLICY)).stdout)["mode"] == "enforcing"
    assert sidecar.policy() == POLICY
    _error(ctl("policy set /nonexistent"), NO_INPUT, "/nonexistent")
    _error(ctl("policy set -", stdin='{"egres":[]}'), DATA, "egres")
    _error(ctl("policy set -", stdin='{"policy":{"egress":[{"action":"allow","target":"a.test\\u0000b"}]}}'), DATA)
    _error(ctl("policy set -", stdin=""), DATA, "empty")
    assert sidecar.policy() == POLICY, "a policy that is not there denies nothing and allows nothing"


def test_two_writers_do_not_overwrite_each_other(start, ctl):
    sidecar = start(RULES=POLICY)
    mine = json.loads(ctl("policy get --json").stdout)
    theirs = json.loads(ctl("policy get --json").stdout)
    mine["policy"]["egress"].append({"action": "allow", "target": "mine.test"})
    theirs["policy"]["egress"].append({"action": "allow", "target": "theirs.test"})
    assert _lines(ctl("policy set -", stdin=json.dumps(mine))) == [["+", "allow", "mine.test"]]
    for option in "", " --dry-run":
        _error(ctl(f"policy set -{option}", stdin=json.dumps(theirs)), TEMPORARY, "somebody else")
    assert sidecar.policy()["egress"] == POLICY["egress"] + rules("+mine.test")


def test_many_writers_at_once_all_get_their_rule(world, start):
    sidecar = start(RULES={"egress": []})
    writers = [world.sandbox.popen(BINARY, "ctl", "policy", "allow", f"n{i}.test", env=environment({}),
                                   stdout=subprocess.DEVNULL) for i in range(4)]
    assert [writer.wait(30 * PATIENCE) for writer in writers] == [0] * 4
    assert sorted(rule["target"] for rule in sidecar.policy()["egress"]) == [f"n{i}.test" for i in range(4)]


def test_explain(world, start, ctl):
    start(RULES=POLICY)
    dnsclient.ask(world.sandbox, "www.allowed.test")
    assert _lines(ctl("policy explain www.allowed.test 198.51.100.7")) == [
        "allow www.allowed.test rule *.allowed.test of the policy".split(),
        "allow 198.51.100.7 rule 198.51.100.0/24 of the policy".split()]
    line, = _lines(ctl("policy explain 203.0.113.10"))
    assert line[:6] == "allow 203.0.113.10 an address of www.allowed.test".split() and line[-2:] == ["s", "left)"]
    line, _ = _lines(ctl("policy explain evil.test www.allowed.test"), NO)
    assert line == "deny evil.test no rule names it: the default".split()
    assert _lines(ctl("policy explain 127.0.0.1")) == ["allow 127.0.0.1 an address of the sandbox itself".split()]
    ctl("policy deny www.allowed.test")
    line, = _lines(ctl("policy explain 203.0.113.10"), NO)
    assert line[:2] == ["deny", "203.0.113.10"] and "www.allowed.test" in line
    done = ctl("policy explain --json evil.test www.allowed.test")
    assert [json.loads(answer)["action"] for answer in done.stdout.splitlines()] == ["deny", "deny"]
    assert done.returncode == NO and not done.stderr
    _error(ctl(["policy", "explain", "a b"]), DATA, "target")
    _error(ctl("policy explain 10.0.0.0/8"), DATA, "target")


def test_leases(world, start, ctl):
    start(RULES=POLICY)
    assert _lines(ctl("leases")) == [["ADDRESS", "STATE", "LEFT", "NAMES"]]
    for name in "www.allowed.test", "api.allowed.test":
        dnsclient.ask(world.sandbox, name)
    first, second = _lines(ctl("leases"))[1:]
    assert first[:2] + first[3:] == ["203.0.113.11", "learned", "api.allowed.test"] and 100 <= int(first[2]) <= 120
    assert second[0] == "203.0.113.10"
    ctl("policy deny api.allowed.test")
    assert _lines(ctl("leases"))[1][:2] == ["203.0.113.11", "revoked"]
    answer = json.loads(ctl("leases --json").stdout)
    assert answer["leasesTotal"] == 2 and {lease["state"] for lease in answer["leases"]} == {"learned", "revoked"}


def test_suggested_policy_can_be_set(world, start, ctl):
    sidecar = start(RULES=POLICY, MODE="dns+nft+audit")
    dnsclient.ask(world.sandbox, "www.other.test")
    assert "NOTHING IS ENFORCED" in ctl("policy get").stdout
    assert "nothing is refused" in ctl("policy explain www.other.test").stdout
    assert _lines(ctl("policy set -", stdin=ctl("policy suggested").stdout))[-1] == ["+", "allow", "www.other.test"]
    assert sidecar.policy()["egress"] == rules("+www.other.test")


# --- what the sandbox tries to reach ---

def _make_some_traffic(world):
    for name in "www.allowed.test", "www.other.test", "www.allowed.test", "www.other.test", "www.other.test":
        dnsclient.ask(world.sandbox, name)
    assert not connects(world.sandbox, "203.0.113.99")


def _settled(ctl, words="events --once --json"):
    """All of the traffic above is known."""
    return wait_until(lambda: "203.0.113.99" in (done := ctl(words)).stdout and done, what="the last event")


def test_events(world, start, ctl):
    sidecar = start(RULES=POLICY)
    _make_some_traffic(world)
    events = [json.loads(line) for line in _settled(ctl).stdout.splitlines()]
    assert [event["number"] for event in events] == list(range(1, len(events) + 1))
    lines = [line[1:] for line in _lines(ctl("events --once"))]
    assert lines[0] == "policy loaded, 3 rules, default deny".split()
    assert lines[1][:3] == ["allowed", "www.allowed.test", "203.0.113.10"] and lines[1][-1] == "ms"
    assert lines[2] == "denied www.other.test rule: default".split()
    assert lines[-1] == "denied 203.0.113.99 port 80 tcp rule: default".split()
    denied = _lines(ctl("events --once --denied"))
    assert len(denied) == 4 and all(line[1] == "denied" for line in denied)
    assert len(ctl("events --once --denied --json").stdout.splitlines()) == 4
    ctl("policy allow a.test")
    sidecar.request("PUT", "/policy", "{")
    changed, refused = wait_until(lambda: "refused" in (done := ctl("events --once")).stdout and _lines(done))[-2:]
    assert changed[1:] == "policy changed, 1 rules, default deny".split() and refused[1:3] == ["policy", "refused:"]


def test_events_are_followed(world, start):
    sidecar = start(RULES=POLICY)
    with world.sandbox.popen(BINARY, "ctl", "events", "--json", env=environment({}), stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True) as process:
        seen = [json.loads(process.stdout.readline())]
        for name in "one.test", "two.test":
            dnsclient.ask(world.sandbox, name)
            seen.append(json.loads(process.stdout.readline()))
        assert [event.get("target.host") for event in seen] == [None, "one.test", "two.test"]
        sidecar.stop()
        assert process.wait(20 * PATIENCE) == UNAVAILABLE
        assert process.stderr.read().count("\n") == 1


def test_busy_sandbox_does_not_keep_the_client_busy(world, start):
    sidecar = start(RULES=POLICY, LOG_LEVEL="warn")
    asked = lambda: Scrape(sidecar).sum("egress_api_request_duration_seconds_count", http_route="/events")
    with hostile(world.sandbox, "flood", "flood.test", 20_000, 1):
        begin = time.monotonic()
        with Terminal(world, "top") as terminal:
            terminal.wait(lambda _: asked() >= 8, timeout=20)
        assert time.monotonic() - begin > 0.5, "ten a second at most"


def test_events_that_failed_and_audit(world, start, ctl):
    start(RULES=POLICY, MODE="dns+nft+audit", DNS_UPSTREAM="192.0.2.77", DNS_UPSTREAM_TIMEOUT="1")
    dnsclient.ask(world.sandbox, "www.allowed.test")
    connects(world.sandbox, "203.0.113.99")
    _settled(ctl)
    lines = [line[1:] for line in _lines(ctl("events --once"))]
    assert lines[1][:2] == ["failed", "www.allowed.test"] and len(lines[1]) > 2
    assert lines[-1][0] == "denied" and lines[-1][-4:] == "(audit mode: not refused)".split()


def test_no_events_without_the_page(start, ctl):
    start(UI="0", TOKEN="s3cret")
    for words in "events", "top":
        _error(ctl(words, TOKEN="s3cret"), UNAVAILABLE, "does not offer")


def test_top(world, start, ctl):
    start(RULES=POLICY)
    _make_some_traffic(world)
    _settled(ctl)
    lines = _lines(ctl("top"))
    assert lines[0] == "DENIED ALLOWED FAILED LAST (UTC) MS TARGET DENIED BY".split()
    assert [[*line[:3], line[-2]] for line in lines[1:2]] == [["3", "0", "0", "www.other.test"]]
    assert lines[2][:3] == ["0", "2", "0"] and lines[2][-1] == "www.allowed.test"
    assert lines[3][:3] == ["1", "0", "0"] and lines[3][-5:] == "203.0.113.99 port 80 tcp default".split()
    assert len(lines) == 4 and len(_lines(ctl("top --denied"))) == 3
    assert json.loads(ctl("top --json").stdout)[0] == {"target": "www.other.test", "rule": "default", "denied": 3,
                                                       "allowed": 0, "failed": 0}
    assert json.loads(ctl("top --json --denied").stdout)[1]["target"] == "203.0.113.99 port 80 tcp"


# --- who may, and where ---

def test_token(start, ctl, tmp_path):
    start(RULES=POLICY, TOKEN="s3cret")
    for name, text in ("right", " s3cret\n"), ("wrong", "other"), ("empty", "\n"), ("two", "a\nb"):
        (tmp_path / name).write_text(text)
    for words in "policy get", "policy allow a.test", "policy explain a.test":
        _error(ctl(words), NO_PERMISSION, "OPENSANDBOX_EGRESS_TOKEN", "--token-file")
        _error(ctl(words, TOKEN="other"), NO_PERMISSION, "token is not the sidecar's")
    assert ctl("policy get", TOKEN=" s3cret ").returncode == 0
    assert ctl(f"policy get --token-file {tmp_path}/right", TOKEN="other").returncode == 0
    assert ctl("policy get --token-file -", stdin="s3cret\n").returncode == 0
    _error(ctl(f"policy get --token-file {tmp_path}/wrong", TOKEN="s3cret"), NO_PERMISSION)
    for name in "empty", "two":
        _error(ctl(f"policy get --token-file {tmp_path}/{name}"), DATA, "one line")
    _error(ctl(f"policy get --token-file {tmp_path}/none", TOKEN="s3cret"), NO_INPUT)


@pytest.mark.parametrize("listen, told", [
    (":18081", {"HTTP_ADDR": ":18081"}), ("0.0.0.0:18081", {"HTTP_ADDR": " 0.0.0.0:18081 "}),
    ("[::]:18081", {"HTTP_ADDR": "[::]:18081"}), ("[::1]:18081", {"HTTP_ADDR": "[::1]:18081"})])
def test_address_of_the_environment(start, ctl, listen, told):
    start(HTTP_ADDR=listen, healthy=False)
    wait_until(lambda: ctl("policy get --json", **told).returncode == 0)
    _error(ctl("policy get"), UNAVAILABLE, f"127.0.0.1:{PORT}")


def test_address_of_the_arguments(start, ctl):
    start()
    for address in "localhost:18080", ":18080", "[::1]:18080", "0.0.0.0:18080":
        assert ctl(f"policy get --address {address}", HTTP_ADDR=":1").returncode == 0
    _error(ctl("policy get --address 127.0.0.1:1"), UNAVAILABLE, "127.0.0.1:1:", "--address")
    _error(ctl("policy get --address [::]:1"), UNAVAILABLE, "[::1]:1:")
    _error(ctl("policy get --address 0.0.0.0:1"), UNAVAILABLE, "127.0.0.1:1:")
    _error(ctl("policy get --address nonsense:x"), USAGE, "HOST:PORT")


def test_no_proxy_sees_the_token(start, ctl, world):
    start(TOKEN="s3cret")
    done = world.sandbox.run(BINARY, "ctl", "policy", "get", env={
        **environment({"TOKEN": "s3cret"}), "http_proxy": "http://127.0.0.1:1", "ALL_PROXY": "http://127.0.0.1:1"})
    assert done.returncode == 0, done


@pytest.fixture
def impostor(world):
    """impostor(status, body): who answers at port 18089 from now on."""
    class Handler(http.server.BaseHTTPRequestHandler):
        answer = 200, b""

        def do_GET(self):
            status, body = Handler.answer
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with world.sandbox.inside():
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 18089), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield lambda status, body: setattr(Handler, "answer", (status, body))
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("status, body, code", [
    (200, b"<html>", PROTOCOL), (200, b"", PROTOCOL), (200, b"[" * 5000, PROTOCOL), (204, b"", PROTOCOL),
    (302, b"", PROTOCOL), (418, b"tea", PROTOCOL), (404, b"not found\n", UNAVAILABLE), (503, b"stopping\n", TEMPORARY),
    (500, b"no\033]0;x\007\n", FAILED), (200, b" " * (33 << 20), UNAVAILABLE)],
    ids=["HTML", "empty", "deep", "204", "302", "418", "404", "503", "500", "endless"])
def test_something_else_answers(ctl, impostor, status, body, code):
    impostor(status, body)
    done = ctl("leases", HTTP_ADDR=":18089")
    _error(done, code)
    assert "\033" not in done.stderr and not done.stdout


def test_answers_of_another_shape(ctl, impostor):
    for body in b"{}", b"[]", b"1", b'{"leases":[{"names":{}},3,null]}', b'{"policy":7,"deny_always":"x"}':
        impostor(200, body)
        for words in "leases", "policy get", "policy get --json", "policy explain x", "events --once", "top":
            done = ctl(words, HTTP_ADDR=":18089")
            assert 0 <= done.returncode <= 77 and done.stderr.count("\n") <= 1, (words, body, done)


def test_more_leases_than_are_listed(ctl, impostor):
    lease = {"address": "192.0.2.1", "state": "learned", "seconds": 7, "names": ["a.test", "b\033[31m\u009b.test"]}
    impostor(200, json.dumps({"status": "ok", "leases": [lease], "leasesTotal": 1234}).encode())
    assert _lines(ctl("leases", HTTP_ADDR=":18089"))[1:] == [
        ["192.0.2.1", "learned", "7", "a.test,", "b?[31m?.test"], ["and", "1233", "more"]]


def test_any_user_without_privileges(start, ctl):
    sidecar = start(RULES=POLICY)
    assert ctl("policy allow a.test", through=NOBODY).returncode == 0
    assert sidecar.policy()["egress"][0]["target"] == "a.test"


@pytest.mark.parametrize("words", ["", "policy", "policy get x", "policy allow", "policy frobnicate", "frobnicate",
                                   "policy get --frobnicate", "policy get --dry-run", "policy get --address",
                                   "policy set a b"])
def test_bad_arguments(ctl, words):
    done = ctl(words)
    assert done.returncode == USAGE and not done.stdout and "ctl" in done.stderr
    if words:
        _error(done, USAGE, "--help")


def test_help(ctl):
    done = ctl("--help")
    assert done.returncode == 0 and "policy explain" in done.stdout and "Exit codes" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 120


def test_full_disk_is_said(world, start):
    start()
    done = world.sandbox.run("sh", "-c", f"{BINARY} ctl policy get >/dev/full", env=environment({}))
    _error(done, OUTPUT, "cannot write")


# --- terminals ---

def test_colours_on_a_terminal_alone(world, start, ctl):
    start(RULES=POLICY)
    _make_some_traffic(world)
    _settled(ctl)
    for words, green, red in (("policy get", "allow", "deny"), ("events --once", "allowed", "denied"),
                              ("top --once", "      2", "      3"), ("policy explain www.allowed.test", "allow", "")):
        code, shown = _on_terminal(world, words)
        assert code == 0 and f"{GREEN}{green}" in shown and (not red or f"{RED}{red}" in shown), shown
        assert "\033" not in ctl(words).stdout
        assert "\033" not in _on_terminal(world, words, NO_COLOR="1")[1]
    assert "\033" not in _on_terminal(world, "policy get", TERM="dumb")[1]
    assert "\033" not in _on_terminal(world, "policy get --json")[1]


def test_names_cannot_speak_to_the_terminal(world, start, ctl):
    start(RULES=POLICY)
    dnsclient.ask(world.sandbox, "\\027]0;owned\\007\\155.test")
    for words in "events --once", "top", "events --once --json":
        done = wait_until(lambda words=words: ".test" in (done := ctl(words)).stdout and done)
        assert done.stdout.isprintable() or set(done.stdout) - set(map(chr, range(32, 127))) == {"\n"}
    done = ctl(["policy", "explain", "a\033]0;owned\007.test"])
    assert done.returncode == DATA and "\033" not in done.stderr


def test_top_is_live(world, start):
    start(RULES=POLICY)
    dnsclient.ask(world.sandbox, "first.test")
    with Terminal(world, "top") as terminal:
        terminal.wait(lambda screen: "first.test" in screen)
        for i in range(40):
            dnsclient.ask(world.sandbox, f"n{i:02}.test")
        for _ in range(3):
            dnsclient.ask(world.sandbox, f"{'x' * 60}.{'y' * 60}.{'z' * 60}.test")
        screen = terminal.wait(lambda screen: "44 events of 42 targets" in screen)
        lines = screen.split("\n")
        assert len(lines) <= 24 and max(map(len, lines)) <= 80
        assert "xxx" in lines[2] and lines[2].split()[0] == "3"
        terminal.press(b"\x03")
        assert terminal.code() == -signal.SIGINT
