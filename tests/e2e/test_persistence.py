"""The policy file: what is in it, and that after a failure file, memory and kernel all hold the old policy."""

import json
import re
import subprocess

import pytest

from tests.support import dnsclient, mounts, ruleset
from tests.support.sidecar import UNDER
from tests.support.tcpclient import connects, refusal_seconds
from tests.support.waiting import wait_until

OLD = {"defaultAction": "deny", "egress": [{"action": "allow", "target": "203.0.113.10"}]}
NEW = {"defaultAction": "deny", "egress": [{"action": "allow", "target": "203.0.113.11"}]}
LARGE = {"egress": [{"action": "allow", "target": f"n{i}.test"} for i in range(2000)]}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "policy.json"


def _holds(world, sidecar, path, content):
    """Memory, file and kernel hold the old policy."""
    assert sidecar.policy() == OLD
    assert path.read_text() == content
    assert connects(world.sandbox, "203.0.113.10")
    refusal_seconds(world.sandbox, "203.0.113.11")


def test_every_accepted_change_is_written(start, path):
    sidecar = start(POLICY_FILE=str(path))
    for method, body in (("POST", NEW), ("PATCH", OLD["egress"]), ("DELETE", ["203.0.113.11"]), ("PUT", "")):
        assert sidecar.request(method, "/policy", body).status == 200
        assert json.loads(path.read_text()) == sidecar.policy()
    assert sidecar.request("POST", "/policy", "{").status == 400
    assert json.loads(path.read_text()) == sidecar.policy()


def test_written_policy_beats_rules_at_restart(world, start, path):
    sidecar = start(POLICY_FILE=str(path), RULES=OLD)
    assert sidecar.request("POST", "/policy", NEW).status == 200
    sidecar.kill()
    sidecar.restart().wait_healthy()
    assert sidecar.policy() == NEW
    assert connects(world.sandbox, "203.0.113.11")
    refusal_seconds(world.sandbox, "203.0.113.10")


@pytest.mark.parametrize("content", ["{", "", "[]", '{"egress":[{"action":"allow","target":"a b"}]}', "\0" * 10])
def test_invalid_policy_file_is_a_warning_and_rules_count(start, path, content):
    path.write_text(content)
    sidecar = start(POLICY_FILE=str(path), RULES=OLD)
    if content:
        assert sidecar.policy() == OLD
        sidecar.wait_record(lambda record: record["level"] == "warn" and str(path) in json.dumps(record))


def test_mode_of_the_file_is_kept_and_a_new_one_is_private(start, path):
    sidecar = start(POLICY_FILE=str(path))
    sidecar.request("POST", "/policy", NEW)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    sidecar.request("POST", "/policy", OLD)
    assert path.stat().st_mode & 0o777 == 0o640
    assert [entry.name for entry in path.parent.iterdir() if "policy" in entry.name] == ["policy.json"]


def _calls(trace):
    """The system calls in a trace of many threads, in the order of their ends."""
    begun = {}
    for line in trace.read_text().splitlines():
        thread, _, call = line.partition(" ")
        if call.endswith(" <unfinished ...>"):
            begun[thread] = call.removesuffix(" <unfinished ...>")
        else:
            yield begun.pop(thread, "") + call.partition("resumed>")[2] if call.lstrip().startswith("<...") else call


@pytest.mark.skipif(UNDER == "strace", reason="a process has one tracer")
def test_order_of_disk_kernel_and_answer(world, start, path):
    """As the system calls of one change come: written aside and on the disk, enforced, put in place and on the disk, flows
    ended, answered."""
    trace = path.parent / "calls"
    sidecar = start(POLICY_FILE=str(path), RULES=OLD, through=(
        "strace", "-D", "-f", "-qq", "-yy", "-s", "4096", "-e", "signal=none", "-o", str(trace),
        "-e", "trace=openat,fsync,renameat,renameat2,sendto,sendmsg"))
    connects(world.sandbox, "203.0.113.66")  # refused, and yet it might have left something open
    assert sidecar.request("POST", "/policy", NEW).status == 200  # takes something away, so flows are looked at
    sidecar.stop()
    calls = {"aside": r"fsync\(\d+<[^>]+/\.opensandbox-egress-\w+>\) += 0",
             "kernel": r"sendto\(\d+<NETLINK.*NFNL_MSG_BATCH_BEGIN",
             "in place": r"renameat2?\(.*policy\.json.*\) += 0",
             "folder": rf"fsync\(\d+<{re.escape(str(path.parent))}>\) += 0",
             "flows": r"sendto\(\d+<NETLINK.*CTNETLINK",
             "answer": r"sendmsg\(\d+<TCP.*\{\\\"status\\\":\\\"ok"}

    def seen():  # the tracer writes the rest when all is over
        return [name for line in _calls(trace) for name, call in calls.items() if re.search(call, line)]
    wait_until(lambda: {"aside", "answer"} <= set(seen()), what="the tracer")
    made = seen()
    made = made[made.index("aside"):made.index("answer", made.index("aside")) + 1]
    assert [name for name in made if name != "flows"] == ["aside", "kernel", "in place", "folder", "answer"]
    assert made[-2] == "flows"


def _persist_fails(sidecar, body=NEW):
    for method, content in (("POST", body), ("PATCH", body["egress"]), ("DELETE", ["203.0.113.10"]), ("PUT", "")):
        reply = sidecar.request(method, "/policy", content)
        assert reply.status == 500 and reply.text.startswith("failed to persist policy: "), reply.text
        yield method
    sidecar.wait_event("update_failed", level="error")


def test_read_only_folder(world, start, tmp_path):
    with mounts.tmpfs(tmp_path / "state") as folder:
        path = folder / "policy.json"
        sidecar = start(POLICY_FILE=str(path))
        assert sidecar.request("POST", "/policy", OLD).status == 200
        kernel, content = ruleset.at_rest(world.sandbox), path.read_text()
        mounts.make_read_only(folder)
        for _ in _persist_fails(sidecar):
            assert ruleset.at_rest(world.sandbox) == kernel
            _holds(world, sidecar, path, content)


def test_full_disk(world, start, tmp_path):
    with mounts.tmpfs(tmp_path / "state") as folder:
        path = folder / "policy.json"
        sidecar = start(POLICY_FILE=str(path))
        assert sidecar.request("POST", "/policy", OLD).status == 200
        kernel, content = ruleset.at_rest(world.sandbox), path.read_text()
        filler = folder / "filler"
        with open(filler, "wb", buffering=0) as file:
            while True:
                try:
                    file.write(b"x" * 4096)
                except OSError:
                    break
        for _ in _persist_fails(sidecar, LARGE):
            assert ruleset.at_rest(world.sandbox) == kernel
            _holds(world, sidecar, path, content)
        filler.unlink()
        assert sorted(entry.name for entry in folder.iterdir()) == ["policy.json"], "nothing half-written is left"
        assert sidecar.request("POST", "/policy", NEW).status == 200
        assert json.loads(path.read_text()) == NEW


def test_file_that_vanished(world, start, path):
    """What is in force stays; the next change writes the file anew, and a start after that finds it."""
    sidecar = start(RULES={}, POLICY_FILE=str(path))
    assert sidecar.request("POST", "/policy", OLD).status == 200
    kernel = ruleset.at_rest(world.sandbox)
    path.unlink()
    assert sidecar.policy() == OLD and ruleset.at_rest(world.sandbox) == kernel
    assert sidecar.request("POST", "/policy", NEW).status == 200
    assert json.loads(path.read_text()) == NEW
    sidecar.kill()
    assert sidecar.restart().wait_healthy().policy() == NEW


def test_folder_that_vanished(world, start, tmp_path):
    folder = tmp_path / "state"
    folder.mkdir()
    path = folder / "policy.json"
    sidecar = start(POLICY_FILE=str(path))
    assert sidecar.request("POST", "/policy", OLD).status == 200
    kernel, content = ruleset.at_rest(world.sandbox), path.read_text()
    moved = folder.rename(tmp_path / "moved")
    for _ in _persist_fails(sidecar):
        assert ruleset.at_rest(world.sandbox) == kernel
        _holds(world, sidecar, moved / "policy.json", content)


def test_bind_mounted_file_is_written_in_place(start, path):
    path.write_text(json.dumps(OLD))
    inode = path.stat().st_ino
    with mounts.bound_file(path):
        sidecar = start(POLICY_FILE=str(path))
        assert sidecar.policy() == OLD
        for policy in LARGE | {"defaultAction": "deny"}, NEW:
            assert sidecar.request("POST", "/policy", policy).status == 200
            assert json.loads(path.read_text()) == policy
        assert path.stat().st_ino == inode


def test_failed_apply_leaves_file_and_memory(world, start, path):
    sidecar = start(POLICY_FILE=str(path))
    assert sidecar.request("POST", "/policy", OLD).status == 200
    content = path.read_text()

    # A table that another program owns is not ours to change, nor to replace.
    with world.sandbox.popen("nft", "-i", stdin=subprocess.PIPE, text=True) as owner:
        owner.stdin.write("delete table inet opensandbox; add table inet opensandbox { flags owner; }\n")
        owner.stdin.flush()
        sidecar.wait_unhealthy()
        reply = sidecar.request("POST", "/policy", NEW)
        owner.stdin.close()
        owner.wait(10)
    assert reply.status == 500 and reply.text.startswith("failed to apply nftables policy: "), reply.text
    assert sidecar.policy() == OLD and path.read_text() == content
    sidecar.wait_healthy()
    _holds(world, sidecar, path, content)


def test_learned_addresses_survive_a_failed_change(world, start, tmp_path):
    sidecar = start(POLICY_FILE=str(tmp_path / "missing" / "policy.json"),
                    RULES={"egress": [{"action": "allow", "target": "*.allowed.test"}]})
    dnsclient.ask(world.sandbox, "www.allowed.test")
    assert sidecar.request("POST", "/policy", "").status == 500
    assert connects(world.sandbox, "203.0.113.10")


def test_failure_after_the_kernel_took_the_change_takes_nothing_away(world, start, tmp_path):
    """A file that can neither be replaced nor written shows only when it is put in place."""
    allowed = {"egress": [{"action": "allow", "target": "*.allowed.test"}]}
    with mounts.tmpfs(tmp_path / "state") as folder:
        path = folder / "policy.json"
        sidecar = start(POLICY_FILE=str(path))
        assert sidecar.request("POST", "/policy", allowed).status == 200
        content = path.read_text()
        dnsclient.ask(world.sandbox, "www.allowed.test")
        subprocess.run(["chattr", "+i", path], check=True)
        try:
            reply = sidecar.request("POST", "/policy", "")
            assert reply.status == 500 and reply.text.startswith("failed to persist policy: "), reply.text
            assert connects(world.sandbox, "203.0.113.10")
            assert dnsclient.rcode(dnsclient.ask(world.sandbox, "api.allowed.test")) == "NOERROR"
            assert sidecar.policy()["egress"] == allowed["egress"] and path.read_text() == content
            assert sidecar.healthy()
        finally:
            subprocess.run(["chattr", "-i", path], check=True)
