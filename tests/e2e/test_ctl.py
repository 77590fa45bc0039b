"""`opensandbox-egress ctl`: what a person and a script get, against a real sidecar."""

import json
import os
import pty
import subprocess

import pytest

from tests.e2e.test_policy_api import rules
from tests.support import dnsclient
from tests.support.sidecar import BINARY, PORT, environment
from tests.support.tcpclient import connection, connects
from tests.support.waiting import PATIENCE, wait_until

NO, USAGE, DATA, NO_INPUT, UNAVAILABLE, TEMPORARY, PROTOCOL, NO_PERMISSION = 1, 64, 65, 66, 69, 75, 76, 77
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


def _on_terminal(world, words, **settings):
    """What a terminal of 80 columns and 24 rows gets."""
    master, slave = pty.openpty()
    with world.sandbox.popen("sh", "-c", 'stty rows 24 cols 80; exec "$@"', "sh", BINARY, "ctl", *words.split(),
                             env=environment({**settings}), stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        shown = b""
        while True:
            try:
                piece = os.read(master, 65536)
            except OSError:
                break
            if not piece:
                break
            shown += piece
        code = process.wait(20 * PATIENCE)
    os.close(master)
    return code, shown.decode().replace("\r\n", "\n")


# --- the policy ---

def test_get_shows_every_layer(start, ctl, tmp_path):
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules/deny.always").write_text("169.254.169.254\n")
    (tmp_path / "rules/allow.always").write_text("always.test\n")
    start(RULES=POLICY)
    done = ctl("policy get")
    assert _lines(done) == [
        ["ACTION", "TARGET", "FROM"], ["deny", "169.254.169.254", "deny.always"], ["allow", "always.test", "allow.always"],
        ["allow", "*.allowed.test", "policy"], ["allow", "198.51.100.0/24", "policy"], ["deny", "203.0.113.13", "policy"],
        ["deny", "everything", "else", "default"]]
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
    assert _lines(ctl("policy deny www.other.test")) == [["-", "allow", "www.other.test"], ["+", "deny", "www.other.test"]]
    with connection(world.sandbox, "203.0.113.10"):
        lines = _lines(ctl("policy rm 203.0.113.10 www.other.test"))
    assert lines == [["-", "deny", "www.other.test"], ["-", "allow", "203.0.113.10"],
                     "open connection ends: tcp 203.0.113.10 port 80".split()]
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
    assert _lines(ctl("policy explain evil.test www.allowed.test"), NO)[0] == "deny evil.test no rule names it: the default".split()
    ctl("policy deny www.allowed.test")
    line, = _lines(ctl("policy explain 203.0.113.10"), NO)
    assert line[:2] == ["deny", "203.0.113.10"] and "www.allowed.test" in line
    done = ctl("policy explain --json evil.test www.allowed.test")
    assert [json.loads(answer)["action"] for answer in done.stdout.splitlines()] == ["deny", "deny"]
    assert done.returncode == NO and not done.stderr
    _error(ctl(["policy", "explain", "a b"]), DATA, "target")
    _error(ctl("policy explain 10.0.0.0/8"), DATA, "target")


def test_suggested_policy_can_be_set(world, start, ctl):
    sidecar = start(RULES=POLICY, MODE="dns+nft+audit")
    dnsclient.ask(world.sandbox, "www.other.test")
    assert "NOTHING IS ENFORCED" in ctl("policy get").stdout
    assert "nothing is refused" in ctl("policy explain www.other.test").stdout
    assert _lines(ctl("policy set -", stdin=ctl("policy suggested").stdout))[-1] == ["+", "allow", "www.other.test"]
    assert sidecar.policy()["egress"] == rules("+www.other.test")


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
    _error(ctl("policy get --address nonsense:x"), USAGE, "HOST:PORT")


def test_no_proxy_sees_the_token(start, ctl, world):
    start(TOKEN="s3cret")
    done = world.sandbox.run(BINARY, "ctl", "policy", "get", env={
        **environment({"TOKEN": "s3cret"}), "http_proxy": "http://127.0.0.1:1", "ALL_PROXY": "http://127.0.0.1:1"})
    assert done.returncode == 0, done


def test_something_else_answers(world, ctl):
    _error(ctl("policy get --address 127.0.0.1:1"), UNAVAILABLE)
    with world.sandbox.popen("python3", "-m", "http.server", "18089", stderr=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL) as other:
        try:
            done = ctl("policy get --address 127.0.0.1:18089")
            while done.returncode == UNAVAILABLE and "Couldn't connect" in done.stderr:
                done = ctl("policy get --address 127.0.0.1:18089")
            assert done.returncode in (UNAVAILABLE, PROTOCOL) and done.stderr.count("\n") == 1
        finally:
            other.kill()


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
    _error(done, 74, "cannot write")


# --- terminals ---

def test_colours_on_a_terminal_alone(world, start, ctl):
    start(RULES=POLICY)
    code, shown = _on_terminal(world, "policy get")
    assert code == 0 and f"{GREEN}allow" in shown and f"{RED}deny" in shown
    assert "\033" not in ctl("policy get").stdout
