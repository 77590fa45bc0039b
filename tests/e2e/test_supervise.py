"""--supervise: the sidecar comes back after a crash, into a sandbox that stayed closed; and what a PID 1 has to do."""

import os
import signal
import subprocess
import time

import pytest

from tests.support import dnsclient
from tests.support.sidecar import BINARY, UNDER, environment
from tests.support.tcpclient import connects, refusal_seconds, refused_at_once
from tests.support.waiting import wait_until

RULES = {"egress": [{"action": "allow", "target": "*.allowed.test"}, {"action": "allow", "target": "203.0.113.20"}]}
SUPERVISE = ("--supervise",)
pytestmark = pytest.mark.skipif(UNDER != "", reason="the sidecar is a child of what is watched")


def _supervisor(sidecar, what, n=1):
    """The n-th record of the supervisor that tells `what`."""
    def find():
        found = [r for r in sidecar.records if r.get("opensandbox.event") == f"egress.supervisor.{what}"]
        return found[n - 1] if len(found) >= n else None
    return wait_until(find, what=f"the supervisor's {what} {n}")


def _exists(pid):
    """Whether it runs: a process that nobody has reaped yet does not."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def supervised(start):
    return lambda **settings: start(arguments=SUPERVISE, **{"RULES": RULES, **settings})


def test_crashed_sidecar_comes_back_and_the_sandbox_stays_closed(world, supervised):
    sidecar = supervised(SANDBOX_ID="box")
    first = _supervisor(sidecar, "start")["process.pid"]
    assert first != sidecar.process.pid
    os.kill(first, signal.SIGKILL)
    ended = _supervisor(sidecar, "exit")
    assert (ended["process.pid"], ended["signal"], ended["level"]) == (first, 9, "warn")
    assert refused_at_once(refusal_seconds, world.sandbox, "203.0.113.66")
    assert 0.9 <= _supervisor(sidecar, "backoff")["delay"] <= 1.1
    second = _supervisor(sidecar, "start", 2)
    assert second["process.pid"] != first and second["starts"] == 2
    sidecar.wait_healthy()
    assert dnsclient.addresses(dnsclient.ask(world.sandbox, "www.allowed.test")) == ["203.0.113.10"]
    assert connects(world.sandbox, "203.0.113.10") and connects(world.sandbox, "203.0.113.20")
    for record in sidecar.records:
        assert record["logger"] == "opensandbox.egress" and record["sandbox_id"] == "box" and record["ts"][-1] == "Z"
    assert sidecar.stop() == 0
    assert not _exists(second["process.pid"])


def test_sidecar_that_hangs_is_killed_and_comes_back(world, supervised):
    """Nobody else sees a process that was stopped: its port still takes connections."""
    sidecar = supervised(OPENSANDBOX_EGRESS_WATCHDOG_SEC="3")
    first = _supervisor(sidecar, "start")["process.pid"]
    os.kill(first, signal.SIGSTOP)
    hung = wait_until(lambda: [r for r in sidecar.records if r.get("opensandbox.event") == "egress.supervisor.hang"],
                      timeout=15, what="the supervisor to notice")[0]
    assert (hung["process.pid"], hung["level"], hung["silence"]) == (first, "error", 3)
    assert _supervisor(sidecar, "exit")["signal"] == 9
    assert _supervisor(sidecar, "start", 2)["process.pid"] != first
    sidecar.wait_healthy()
    assert dnsclient.addresses(dnsclient.ask(world.sandbox, "www.allowed.test")) == ["203.0.113.10"]
    assert sidecar.stop() == 0


def test_container_that_is_frozen_is_not_taken_for_a_hang(world, supervised):
    """Supervisor and sidecar stand still together, longer than the sidecar alone might."""
    sidecar = supervised(OPENSANDBOX_EGRESS_WATCHDOG_SEC="3")
    first = _supervisor(sidecar, "start")["process.pid"]
    for pid in sidecar.process.pid, first:
        os.kill(pid, signal.SIGSTOP)
    begin = time.monotonic()
    with pytest.raises(dnsclient.Timeout):
        dnsclient.ask(world.sandbox, "www.allowed.test", timeout=5)
    assert time.monotonic() - begin > 4
    for pid in sidecar.process.pid, first:
        os.kill(pid, signal.SIGCONT)
    assert dnsclient.rcode(dnsclient.ask(world.sandbox, "www.allowed.test")) == "NOERROR"
    assert sidecar.healthy() and _exists(first)
    assert not [r for r in sidecar.records if r.get("opensandbox.event") == "egress.supervisor.hang"]


def test_option_for_signs_of_life_is_for_the_supervisor_alone(world):
    for number in "", "0", "999", "-1", "x":
        done = world.sandbox.run(BINARY, f"--life-fd={number}", env=environment({}), stdin=subprocess.DEVNULL)
        assert done.returncode == 64 and done.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_is_that_of_the_sidecar(world, supervised, number):
    sidecar = supervised(ON_EXIT="remove")
    sidecar.signal(number)
    assert sidecar.wait_end() == 0
    assert world.sandbox.table() is None
    assert _supervisor(sidecar, "exit")["level"] == "info"
    assert any(record["msg"] == f"stopping: {number.name}" for record in sidecar.records)


@pytest.mark.parametrize("on_exit", ["keep", "remove"])
def test_stop_between_two_starts(world, supervised, on_exit):
    """Nobody else is there to do what ON_EXIT asks for."""
    sidecar = supervised(ON_EXIT=on_exit)
    for n in 1, 2:  # the second pause is two seconds long: enough to be late for the signal
        os.kill(_supervisor(sidecar, "start", n)["process.pid"], signal.SIGKILL)
        _supervisor(sidecar, "backoff", n)
    sidecar.signal(signal.SIGTERM)
    assert sidecar.wait_end() == 0
    assert (world.sandbox.table() is None) == (on_exit == "remove")
    assert len([r for r in sidecar.records if r.get("opensandbox.event") == "egress.supervisor.start"]) == 2


def test_stop_in_the_first_moments_is_a_stop(world, supervised):
    """Not the death of a process that does not look for signals yet."""
    sidecar = supervised(ON_EXIT="remove")
    os.kill(_supervisor(sidecar, "start")["process.pid"], signal.SIGKILL)
    _supervisor(sidecar, "start", 2)
    sidecar.signal(signal.SIGTERM)
    assert sidecar.wait_end() == 0
    assert _supervisor(sidecar, "exit", 2)["process.exit.code"] == 0
    assert world.sandbox.table() is None


def test_hangup_is_handed_on(supervised, tmp_path):
    log = tmp_path / "egress.log"
    sidecar = supervised(OPENSANDBOX_LOG_OUTPUT=f"stdout,{log}")
    log.rename(tmp_path / "moved")
    sidecar.signal(signal.SIGHUP)
    wait_until(log.exists, what="the log file to be opened again")
    assert sidecar.healthy()


@pytest.mark.parametrize("settings, through, code", [
    ({"MODE": "off"}, (), 78), ({}, ("setpriv", "--bounding-set=-net_admin"), 77)])
def test_what_can_never_work_is_not_tried_again(start, settings, through, code):
    sidecar = start(arguments=SUPERVISE, through=through, healthy=False, **settings)
    assert sidecar.wait_end() == code
    assert len([r for r in sidecar.records if r.get("opensandbox.event") == "egress.supervisor.start"]) == 1
    assert len([r for r in sidecar.records if r.get("opensandbox.event") == "egress.supervisor.exit"]) == 1
    assert sidecar.stderr.count("\n") == 1


def test_port_that_is_taken_is_tried_again(world, start):
    holder = world.sandbox.popen("/usr/bin/python3", "-c", "import socket, time\n"
                                 "s = socket.create_server(('127.0.0.1', 18080)); print(flush=True); time.sleep(60)",
                                 stdout=subprocess.PIPE)
    holder.stdout.readline()
    sidecar = start(arguments=SUPERVISE, healthy=False, RULES=RULES)
    assert _supervisor(sidecar, "exit")["process.exit.code"] == 69
    assert refused_at_once(refusal_seconds, world.sandbox, "203.0.113.20")
    holder.kill()
    holder.communicate()
    sidecar.wait_healthy()
    assert connects(world.sandbox, "203.0.113.20")


def test_killed_supervisor_takes_the_sidecar_along(world, supervised):
    sidecar = supervised()
    child = _supervisor(sidecar, "start")["process.pid"]
    sidecar.kill()
    wait_until(lambda: not _exists(child), what="the sidecar to end")
    assert refused_at_once(refusal_seconds, world.sandbox, "203.0.113.66")


def test_pid_1_reaps_orphans(world, start):
    """A shell that is gone before its child is: the child falls to PID 1 of the container."""
    script = ('(sh -c "sh -c \\"sleep 0.1\\" & exec true" &) ; exec "$0" --supervise')
    sidecar = start(healthy=False, through=("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c",
                                            script), RULES=RULES)
    sidecar.wait_healthy()
    with open(f"/proc/{sidecar.process.pid}/task/{sidecar.process.pid}/children") as children:
        init = int(children.read().split()[0])
    inside = f"/proc/{init}/task/{init}/children"

    def only_the_sidecar():
        with open(inside) as children:
            return len(children.read().split()) == 1
    wait_until(only_the_sidecar, what="orphans to be reaped")
    os.kill(init, signal.SIGTERM)
    assert sidecar.wait_end() == 0


def test_output_that_nobody_reads_does_not_hold_the_supervisor_up(world, start):
    """Nor its stop, nor the restart."""
    sidecar = start(arguments=SUPERVISE, read_stdout=False, RULES=RULES, LOG_LEVEL="debug")
    sidecar.wait_healthy()
    children = f"/proc/{sidecar.process.pid}/task/{sidecar.process.pid}/children"

    def child():
        with open(children) as file:
            return next(iter(file.read().split()), None)
    first = child()
    for _ in range(1000):  # access records: more than a pipe holds
        sidecar.healthy()
    os.kill(int(first), signal.SIGKILL)
    wait_until(lambda: child() not in (None, first), what="another sidecar")
    sidecar.wait_healthy()
    sidecar.signal(signal.SIGTERM)
    sidecar.drain_stdout()
    assert sidecar.wait_end() == 0
    sidecar.bad_lines.clear()  # who is killed while writing leaves half a line


def _health(world, **settings):
    return world.sandbox.run(BINARY, "--health", env=environment(settings))


@pytest.mark.parametrize("address", [None, "127.0.0.1:18085", "[::1]:18085", "0.0.0.0:18085", "[::]:18085", ":18085",
                                     "10.0.5.2:18085"])
def test_health_finds_the_sidecar(world, start, address):
    settings = {"HTTP_ADDR": address} if address else {}
    sidecar = start(healthy=False, **settings)
    wait_until(lambda: _health(world, **settings).returncode == 0 or sidecar.process.poll(), timeout=10,
               what="--health")
    done = _health(world, **settings)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")


def test_health_of_nobody(world):
    done = _health(world)
    assert done.returncode == 1 and "127.0.0.1:18080" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("answer, says", [
    ("HTTP/1.1 503 Service Unavailable\\r\\nContent-Length: 4\\r\\n\\r\\nlost", "lost"),
    ("HTTP/1.1 2", "not the sidecar"), ("", "not the sidecar"), ("SSH-2.0-OpenSSH\\r\\n\\r\\n", "not the sidecar")])
def test_health_that_is_none(world, answer, says):
    server = world.sandbox.popen("/usr/bin/python3", "-c", "import socket\n"
                                 "s = socket.create_server(('127.0.0.1', 18080)); print(flush=True); c = s.accept()[0]\n"
                                 f"c.recv(4096); c.sendall(b'{answer}')", stdout=subprocess.PIPE)
    server.stdout.readline()
    done = _health(world)
    server.kill()
    server.communicate()
    assert done.returncode == 1 and says in done.stderr, done.stderr


def test_health_of_a_sidecar_that_hangs(world, start):
    sidecar = start()
    children = sidecar.process.pid
    os.kill(children, signal.SIGSTOP)
    try:
        done = _health(world)
        assert done.returncode == 1 and "timed out" in done.stderr.lower(), done.stderr
    finally:
        os.kill(children, signal.SIGCONT)


def test_health_with_an_environment_that_cannot_be_used(world):
    done = _health(world, HTTP_ADDR="nowhere")
    assert done.returncode == 1 and "HTTP_ADDR" in done.stderr
