"""What is left to the sidecar once it runs: one capability, few system calls, a few folders; and that this is enough."""

import ctypes
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import tempfile

import pytest

from tests.support import dnsclient, mounts
from tests.support.sidecar import BINARY, UNDER, command, environment
from tests.support.tcpclient import connects, refusal_seconds
from tests.support.threads import threads
from tests.support.waiting import wait_until
from tests.support.world import UPSTREAM_V4

PROBE = str(pathlib.Path(BINARY).parents[1] / "tests/probe/probe")
FILTERS = os.path.exists(PROBE) and os.system(f"{PROBE} filters") == 0
LANDLOCK_VERSION = ctypes.CDLL(None).syscall(444, None, 0, 1)

RULES = {"egress": [{"action": "allow", "target": "*.allowed.test"}]}
NET_ADMIN = 1 << 12
NOBODY = 65534
CONFIG_ERROR = 78

NET_ADMIN_ONLY = ("setpriv", "--inh-caps=-all", "--bounding-set=-all,+net_admin")
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all,+net_admin",
             "--ambient-caps=-all,+net_admin")
AS_NOBODY_BOUNDED = (*AS_NOBODY, "--bounding-set=-all,+net_admin")

needs_filter = pytest.mark.skipif(not FILTERS, reason="a build with sanitizers restricts no system calls")
needs_landlock = pytest.mark.skipif(LANDLOCK_VERSION < 1, reason="a kernel without Landlock")


@pytest.fixture
def folder():
    """A folder that users other than root can reach."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="egress-privileges-"))
    path.chmod(0o755)
    (path / "rules").mkdir()
    yield path
    shutil.rmtree(path)


def _works(world, sidecar, policy_file):
    assert dnsclient.addresses(dnsclient.ask(world.sandbox, "www.allowed.test")) == ["203.0.113.10"]
    assert connects(world.sandbox, "203.0.113.10")
    refusal_seconds(world.sandbox, "203.0.113.13")
    change = {"defaultAction": "deny", "egress": [{"action": "allow", "target": "203.0.113.13"}]}
    assert sidecar.request("PUT", "/policy", change).status == 200
    assert json.loads(policy_file.read_text()) == change
    wait_until(lambda: connects(world.sandbox, "203.0.113.13"), what="a connection")
    assert "egress_process_memory_usage_bytes" in sidecar.request("GET", "/metrics").text


@pytest.mark.parametrize("through", [(), NET_ADMIN_ONLY, AS_NOBODY, AS_NOBODY_BOUNDED],
                         ids=["root", "root with one", "any user", "any user, bounded"])
def test_every_thread_has_one_capability_and_everything_works(world, start, folder, through):
    os.chown(folder, NOBODY if "--clear-groups" in through else 0, -1)
    policy = folder / "policy.json"
    sidecar = start(through=through, RULES=RULES, POLICY_FILE=str(policy), RULES_DIR=str(folder / "rules"),
                    LOG_LEVEL="debug")
    _works(world, sidecar, policy)
    all_threads = list(threads(sidecar.process.pid))
    assert {thread["Name"] for thread in all_threads} >= {"api", "export"} or UNDER == "valgrind"
    bounded = through is not AS_NOBODY  # to empty the bounding set takes CAP_SETPCAP
    for thread in all_threads:
        for word, value in ("CapPrm", NET_ADMIN), ("CapEff", NET_ADMIN), ("CapInh", 0), ("CapAmb", 0):
            assert int(thread[word], 16) == value, word
        assert (int(thread["CapBnd"], 16) == NET_ADMIN) == bounded
        assert thread["NoNewPrivs"] == "1"
        assert thread["Seccomp"] == ("2" if FILTERS and UNDER != "valgrind" else "0")
    sidecar.wait_event("updated")  # written after whatever the start told
    says = [record for record in sidecar.records if "CAP_SETPCAP" in record["msg"]]
    assert bool(says) != bounded


def test_read_only_root_file_system(world, start, folder):
    state = folder / "state"
    with mounts.tmpfs(state):
        read_only = ("unshare", "--mount", "sh", "-c", 'mount -o remount,bind,ro / && exec "$0" "$@"')
        sidecar = start(through=read_only, RULES=RULES, POLICY_FILE=str(state / "policy.json"),
                        RULES_DIR=str(folder / "rules"), OPENSANDBOX_LOG_OUTPUT=f"stdout,{state}/egress.log")
        with pytest.raises(OSError):
            pathlib.Path(f"/proc/{sidecar.process.pid}/root{folder}/new").touch()
        _works(world, sidecar, state / "policy.json")
        wait_until(lambda: (state / "egress.log").stat().st_size, what="a record in the file")


def test_log_file_is_opened_anew(start, folder):
    log = folder / "egress.log"
    sidecar = start(RULES=RULES, OPENSANDBOX_LOG_OUTPUT=f"stdout,{log}")
    log.rename(folder / "egress.log.1")
    sidecar.signal(signal.SIGHUP)
    wait_until(log.exists, what="the new file")
    assert sidecar.request("PUT", "/policy", "").status == 200
    wait_until(lambda: "egress policy updated" in log.read_text(), what="a record in the new file")


# --- files that one capability is not enough for ---

def _refuses(world, settings, says):
    for arguments in ["--check"], []:
        done = command(world.sandbox, arguments, settings)
        assert done.returncode == CONFIG_ERROR, (arguments, done.returncode, done.stdout)
        assert done.stderr.count("\n") == 1 and all(word in done.stderr for word in says), done.stderr
    table = world.sandbox.table()
    assert table and "policy drop" in table, "closed"
    world.sandbox.run("nft", "delete", "table", "inet", "opensandbox")


@pytest.fixture
def settings(folder):
    return {"MODE": "dns+nft", "DNS_UPSTREAM": UPSTREAM_V4, "RULES": RULES, "RULES_DIR": str(folder / "rules")}


def test_policy_file_of_another_user(world, folder, settings):
    """Root's right to read it is gone; RULES must not take its place."""
    policy = folder / "policy.json"
    policy.write_text('{"defaultAction":"deny"}')
    policy.chmod(0o600)
    os.chown(policy, NOBODY, NOBODY)
    _refuses(world, {**settings, "POLICY_FILE": str(policy)}, ["OPENSANDBOX_EGRESS_POLICY_FILE", str(policy), "user 0"])


def test_always_file_of_another_user(world, folder, settings):
    deny = folder / "rules/deny.always"
    deny.write_text("denied.test\n")
    deny.chmod(0o600)
    os.chown(deny, NOBODY, NOBODY)
    _refuses(world, settings, [str(deny)])


def test_log_folder_of_another_user(world, folder, settings):
    os.chown(folder, NOBODY, NOBODY)
    _refuses(world, {**settings, "OPENSANDBOX_LOG_OUTPUT": f"{folder}/egress.log"},
             ["OPENSANDBOX_LOG_OUTPUT", f"{folder}/egress.log"])


def test_policy_file_that_can_only_be_read(start, folder):
    policy = folder / "policy.json"
    policy.write_text(json.dumps(RULES))
    for path in policy, folder:
        os.chown(path, NOBODY, NOBODY)
    sidecar = start(POLICY_FILE=str(policy), RULES_DIR=str(folder / "rules"))
    sidecar.wait_record(lambda r: r["level"] == "warn" and str(policy) in r["msg"] and "no change" in r["msg"])
    assert sidecar.policy()["egress"] == RULES["egress"]
    answer = sidecar.request("PUT", "/policy", "")
    assert answer.status == 500 and "failed to persist policy" in answer.text


# --- secrets ---

def test_secrets_are_nowhere_to_be_read(start, folder):
    sidecar = start(RULES=RULES, RULES_DIR=str(folder / "rules"), TOKEN="s3cret-1", LOG_LEVEL="debug",
                    OTEL_EXPORTER_OTLP_HEADERS="authorization=s3cret-2", OTEL_EXPORTER_OTLP_LOGS_HEADERS="key=s3cret-3",
                    OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9/?key=s3cret-4",
                    DENY_WEBHOOK="http://user:s3cret-5@127.0.0.1:9/s3cret-6")
    wrong, right = ({"OPENSANDBOX-EGRESS-AUTH": token} for token in ("s3cret", "s3cret-1"))
    assert sidecar.request("GET", "/policy", headers=wrong).status == 401
    assert sidecar.request("GET", "/policy", headers=right).status == 200
    process = pathlib.Path(f"/proc/{sidecar.process.pid}")
    shown = (process / "environ").read_bytes()
    assert b"OPENSANDBOX_EGRESS_TOKEN=" in shown and b"s3cret" not in shown
    limits = (process / "limits").read_text()
    assert next(line.split()[4:6] for line in limits.splitlines() if line.startswith("Max core")) == ["0", "0"]
    assert (process / "environ").stat().st_uid == 0
    sidecar.stop()
    assert "s3cret" not in json.dumps(sidecar.records) + sidecar.stderr


@pytest.mark.parametrize("arguments", [(), ("--supervise",)], ids=["sidecar", "its supervisor"])
def test_memory_of_secrets_is_closed_to_the_same_user(world, start, folder, arguments):
    """Without dumpable, even one of the same user and with the same capability has no way in."""
    os.chown(folder, NOBODY, NOBODY)
    peer = (*AS_NOBODY_BOUNDED, "cat")
    for token, readable in (None, True), ("s3cret", False):
        sidecar = start(through=AS_NOBODY_BOUNDED, arguments=arguments, RULES=RULES, RULES_DIR=str(folder / "rules"),
                        TOKEN=token)
        done = world.sandbox.run(*peer, f"/proc/{sidecar.process.pid}/environ")
        assert (done.returncode == 0) == readable, done
        limits = pathlib.Path(f"/proc/{sidecar.process.pid}/limits").read_text()
        assert readable or re.search(r"^Max core file size +0 +0 ", limits, re.M)
        sidecar.stop()


# --- what an intruder would try ---

@pytest.fixture
def probe(world, folder):
    """probe(ATTEMPT, PATH) says how it went: "done", an error's name, or "killed"."""
    certificates = folder / "certificates"
    (folder / "state").mkdir()
    certificates.mkdir()
    (certificates / "ca.pem").write_text("-")
    settings = {"MODE": "dns+nft", "RULES_DIR": str(folder / "rules"), "POLICY_FILE": str(folder / "state/policy.json"),
                "OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector.test:4318",
                "OTEL_EXPORTER_OTLP_CERTIFICATE": str(certificates / "ca.pem")}

    def attempt(*arguments):
        done = world.sandbox.run(PROBE, *map(str, arguments), env=environment(settings))
        if done.returncode == -signal.SIGSYS:
            return "killed"
        assert done.returncode == 0, done
        return done.stdout.strip()

    return attempt


@needs_filter
@pytest.mark.parametrize("attempt", [
    "execve", "execveat", "fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd",
    "perf_event_open", "bpf", "userfaultfd", "init_module", "finit_module", "delete_module", "kexec_load", "reboot",
    "unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "open_by_handle_at", "capset", "setuid", "setresgid",
    "keyctl", "clock_settime",
    pytest.param("x32", marks=pytest.mark.skipif(platform.machine() != "x86_64", reason="not on this machine"))])
def test_deadly_attempts(probe, attempt):
    assert probe(attempt) == "killed"


@needs_filter
@pytest.mark.parametrize("attempt", [
    "packet-socket", "raw-socket", "unix-socket", "uevent-socket", "listen-tcp", "map-code", "make-code", "be-dumpable",
    "push-input", "raise-limit", "signal-parent", "signal-other-thread", "io_uring_setup", "seccomp", "personality"])
def test_refused_attempts(probe, attempt):
    assert probe(attempt) == "EPERM"


@needs_filter
def test_the_c_library_finds_its_way_round_clone3(probe):
    assert probe("clone3") == "ENOSYS" and probe("tcp-socket") == "done"


@needs_landlock
def test_files_out_of_reach(probe, folder):
    secret = folder / "secret"
    secret.write_text("-")
    (folder / "state/file").write_text("-")
    (folder / "rules/deny.always").write_text("denied.test\n")
    for path in "/etc/shadow", "/etc/passwd", "/bin/true", "/root", "/", PROBE:
        assert probe("open-read", path) == "EACCES", path
    for path in secret, folder / "rules/deny.always", "/proc/sys/kernel/core_pattern", "/dev/null":
        assert probe("open-write", path) == "EACCES", path
    for path in folder / "new", folder / "rules/new", folder / "certificates/new", "/tmp/egress-probe-new":
        assert probe("make-file", path) == "EACCES", path
        assert not os.path.exists(path)
    assert probe("rename-away", folder / "state/file") in ("EXDEV", "EACCES")
    for attempt in "make-folder", "make-link":
        assert probe(attempt, folder / "state/new") in ("EPERM", "EACCES"), attempt
    if FILTERS:
        assert probe("change-mode", folder / "state/file") == "EPERM"


@needs_landlock
def test_files_within_reach(probe, folder):
    (folder / "rules/deny.always").write_text("denied.test\n")
    for path in (folder / "rules/deny.always", folder / "certificates/ca.pem", "/proc/meminfo", "/proc/self/statm",
                 "/etc/ssl/certs"):
        assert probe("open-read", path) == "done", path
    assert probe("make-file", folder / "state/new") == "done"
    assert probe("open-write", folder / "state/new") == "done"


@pytest.mark.skipif(LANDLOCK_VERSION < 4, reason="a kernel whose Landlock does not know of ports")
def test_no_port_is_opened_later(probe):
    assert probe("bind-tcp") == "EACCES"
