"""The API's socket in the file system: for those who may open it, whatever the sandbox does to the ports."""

import json
import os
import pathlib
import socket
import stat

import pytest

from tests.support import netns
from tests.support.sidecar import PORT, Client, Sidecar, command
from tests.support.waiting import wait_until

UNAVAILABLE, CONFIG, NO_PERMISSION = 69, 78, 77
POLICY = {"egress": [{"action": "allow", "target": "a.test"}], "defaultAction": "deny"}
# Starts a program with a /run of its own. The settings that say where the socket is are left out.
OWN_RUN = ("unshare", "-m", "--propagation", "private", "sh", "-c", 'mount -t tmpfs tmpfs /run && exec "$@"', "sh")
OWN_RUN_READ_ONLY = (*OWN_RUN[:-2], 'mount -t tmpfs -o ro tmpfs /run && exec "$@"', "sh")
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--no-new-privs")
WARNING = "the API has no socket in the file system"


def _health(world, **settings):
    return command(world.sandbox, ["--health"], settings)


def _ctl(world, *words, through=(), **settings):
    return command(world.sandbox, ["ctl", *words], settings, through)


def _inside(sidecar):
    """Runs a program where the sidecar runs, mounts included, as `docker exec` does."""
    return ("nsenter", f"--mount=/proc/{sidecar.process.pid}/ns/mnt")


def _warned(sidecar):
    return [record for record in sidecar.records if WARNING in record["msg"]]


def _mode(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


def _dead_socket(path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()


def test_everything_is_served_on_it(world, start):
    sidecar = start(RULES=POLICY)
    local = Client(world.internet, path=sidecar.socket)  # whatever the network namespace
    assert local.policy() == sidecar.policy() == POLICY
    assert local.request("PATCH", "/policy", [{"action": "deny", "target": "b.test"}]).status == 200
    assert sidecar.policy()["egress"][0] == {"action": "deny", "target": "b.test"}
    for path in "/healthz", "/metrics", "/", "/events", "/policy/leases", "/policy/explain?target=a.test":
        assert local.request("GET", path).status == 200, path
    assert _mode(sidecar.socket) == 0o600


def test_usual_place(world, start):
    """Nothing is said of it: /run/opensandbox-egress/api.sock, and `ctl` and `--health` find it."""
    sidecar = start(RULES=POLICY, API_SOCKET=None, through=OWN_RUN)
    path = pathlib.Path(f"/proc/{sidecar.process.pid}/root/run/opensandbox-egress/api.sock")
    assert (_mode(path), _mode(path.parent)) == (0o600, 0o700)
    within = _inside(sidecar)
    # At the address nobody answers to these: only the socket can have been asked.
    done = command(world.sandbox, ["--health"], {"API_SOCKET": None, "HTTP_ADDR": ":1"}, within)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done
    done = _ctl(world, "policy", "get", "--json", through=within, API_SOCKET=None, HTTP_ADDR=":1")
    assert json.loads(done.stdout)["policy"] == POLICY, done
    assert not _warned(sidecar)


def test_address_that_is_a_socket(world, start, tmp_path):
    """HTTP_ADDR=unix:/path: there and nowhere else; `ctl` and `--health` follow."""
    with_own = {"HTTP_ADDR": f"unix:{tmp_path}/own.sock", "API_SOCKET": str(tmp_path / "other.sock")}
    if len(with_own["HTTP_ADDR"]) > 107:
        pytest.skip("the folder of this test has too long a name")
    sidecar = start(RULES=POLICY, **with_own)
    assert not pathlib.Path(with_own["API_SOCKET"]).exists()
    with world.sandbox.inside(), pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", PORT), timeout=5)
    assert _health(world, **with_own).stdout == "ok\n"
    assert _ctl(world, "policy", "get", **with_own).returncode == 0
    assert _ctl(world, "policy", "get", "--address", with_own["HTTP_ADDR"]).returncode == 0
    sidecar.stop()
    for done in _health(world, **with_own), _ctl(world, "policy", "get", **with_own):
        assert done.returncode in (1, UNAVAILABLE) and "own.sock" in done.stderr


def test_switched_off(world, start):
    sidecar = start(API_SOCKET="off")
    assert not pathlib.Path(sidecar.socket).exists() and not _warned(sidecar)
    assert _health(world, API_SOCKET="off").returncode == 0


@pytest.mark.parametrize("name, value", [
    ("HTTP_ADDR", "unix:"), ("HTTP_ADDR", "unix:relative"), ("HTTP_ADDR", "unix:@abstract"),
    ("HTTP_ADDR", f"unix:/{'x' * 107}"), ("API_SOCKET", "relative"), ("API_SOCKET", f"/{'x' * 107}")])
def test_path_that_is_none(world, name, value):
    done = command(world.sandbox, [], {name: value})
    assert done.returncode == CONFIG and f"OPENSANDBOX_EGRESS_{name}" in done.stderr and "absolute path" in done.stderr


def test_token_is_wanted_there_too(world, start):
    """Where the file system is shared, a sandbox's root opens every socket: the token stays the authorisation."""
    sidecar = start(TOKEN="s3cret")
    local = Client(world.sandbox, path=sidecar.socket)
    assert local.request("GET", "/policy").status == 401
    assert local.request("GET", "/policy", headers={"OPENSANDBOX-EGRESS-AUTH": "s3cret"}).status == 200
    assert local.request("GET", "/healthz").status == 200
    done = _ctl(world, "policy", "get", API_SOCKET=sidecar.socket)
    assert done.returncode == NO_PERMISSION and "--token-file" in done.stderr
    assert _ctl(world, "policy", "get", API_SOCKET=sidecar.socket, TOKEN="s3cret").returncode == 0


def test_other_users_cannot_open_it(world, start):
    """Nor does `ctl` of another user lead anybody astray: it asks at the address."""
    sidecar = start()
    os.chmod(os.path.dirname(sidecar.socket), 0o755)
    done = _ctl(world, "policy", "get", "--address", f"unix:{sidecar.socket}", through=NOBODY)
    assert done.returncode == UNAVAILABLE
    assert _ctl(world, "policy", "get", through=NOBODY, API_SOCKET=sidecar.socket).returncode == 0


def test_it_goes_at_a_stop(world, start):
    sidecar = start()
    assert pathlib.Path(sidecar.socket).is_socket()
    sidecar.stop()
    assert not pathlib.Path(sidecar.socket).exists()


def test_socket_of_a_dead_process_is_replaced(world, start):
    sidecar = start()
    sidecar.kill()
    assert pathlib.Path(sidecar.socket).is_socket()  # left
    sidecar.restart().wait_healthy()
    assert Client(world.sandbox, path=sidecar.socket).healthy() and not _warned(sidecar)


def test_socket_of_a_living_process_is_not(world, tmp_path, start):
    first = start()
    other = netns.Namespace("other")
    second = None
    try:
        second = Sidecar(other, tmp_path, API_SOCKET=first.socket).wait_healthy()
        second.wait_record(lambda record: record["level"] == "warn" and WARNING in record["msg"])
        assert len(_warned(second)) == 1
        assert Client(world.sandbox, path=first.socket).healthy()
        # Whoever asks in the second namespace is not answered by the first one's sidecar, nor the other way round.
        asked = dict(API_SOCKET=first.socket, HTTP_ADDR=":18080")
        first.request("PUT", "/policy", POLICY)
        done = command(other, ["ctl", "policy", "get", "--json"], asked)
        assert json.loads(done.stdout)["policy"]["egress"] == [], done
        assert json.loads(_ctl(world, "policy", "get", "--json", **asked).stdout)["policy"] == POLICY
        second.stop()
        assert Client(world.sandbox, path=first.socket).healthy(), "it is still there"
        assert command(other, ["--health"], asked).returncode == 1
    finally:
        if second and second.process.poll() is None:
            second.kill()
        other.close()


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_is_no_socket_stays(world, start, what):
    sidecar = start()
    sidecar.stop()
    path = pathlib.Path(sidecar.socket)
    path.write_text("mine") if what == "file" else path.mkdir()
    sidecar.restart().wait_healthy()
    assert path.is_file() if what == "file" else path.is_dir()
    sidecar.wait_record(lambda record: WARNING in record["msg"] and "is there and no socket" in record["msg"])
    sidecar.stop()
    assert path.exists()


def test_folder_that_cannot_be_made(world, start):
    """A read-only file system: one warning, and the address has to do."""
    sidecar = start(API_SOCKET=None, through=OWN_RUN_READ_ONLY)
    sidecar.wait_record(lambda record: WARNING in record["msg"])
    assert len(_warned(sidecar)) == 1 and "/run/opensandbox-egress" in _warned(sidecar)[0]["msg"]
    within = _inside(sidecar)
    assert command(world.sandbox, ["--health"], {"API_SOCKET": None}, within).stdout == "ok\n"
    assert _ctl(world, "policy", "get", through=within, API_SOCKET=None).returncode == 0


def test_folder_of_another_user(world, start):
    """Who could put another socket in the place of ours, and be given the token."""
    sidecar = start()
    sidecar.stop()
    os.chown(os.path.dirname(sidecar.socket), 65534, 65534)
    sidecar.restart().wait_record(lambda record: WARNING in record["msg"] and "another user's" in record["msg"])


def test_asked_for_alone_it_has_to_be(world):
    done = command(world.sandbox, [], {"HTTP_ADDR": "unix:/proc/nowhere/api.sock"})
    assert done.returncode == UNAVAILABLE and "/proc/nowhere" in done.stderr


def test_clients_at_the_address_take_nothing_from_it(world, start):
    """The sandbox fills its share of connections, and whoever opens the socket has one of his own."""
    sidecar = start(HTTP_MAX_CONNECTIONS="4")
    held = []
    with world.sandbox.inside():
        for _ in range(64):
            held.append(socket.create_connection(("127.0.0.1", PORT), timeout=5))
    local = Client(world.sandbox, path=sidecar.socket)
    for _ in range(20):
        assert local.policy() is not None
    for one in held:
        one.close()


def test_several_that_start_at_once(world, tmp_path, start):
    """One gets the place, the others do not take it away again."""
    sidecar = start()
    sidecar.kill()
    place, ones = sidecar.socket, []
    others = [netns.Namespace(f"other{number}") for number in range(3)]
    try:
        for number, namespace in enumerate(others):
            (tmp_path / str(number)).mkdir()
            ones.append(Sidecar(namespace, tmp_path / str(number), API_SOCKET=place))
        for one in ones:
            one.wait_healthy()
        wait_until(lambda: sum(bool(_warned(one)) for one in ones) == 2, what="two that could not have it")
        assert Client(world.sandbox, path=place).healthy()
    finally:
        for one in ones:
            one.stop()
        for namespace in others:
            namespace.close()
    assert not pathlib.Path(place).exists()


def test_hanging_up(world, start):
    """Clients that come and go at the socket leave nothing behind."""
    sidecar = start()
    files = f"/proc/{sidecar.process.pid}/fd"
    before = len(os.listdir(files))
    for _ in range(200):
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(sidecar.socket)
            one.sendall(b"GET /healthz HTTP/1.1\r\n")
    wait_until(lambda: len(os.listdir(files)) <= before, what="connections to be closed")
    assert Client(world.sandbox, path=sidecar.socket).healthy()


def test_supervised_it_comes_back(world, start):
    sidecar = start(arguments=("--supervise",))
    child = next(record["process.pid"] for record in sidecar.records
                 if record.get("opensandbox.event") == "egress.supervisor.start")
    os.kill(child, 9)
    # In between nobody is asked at the address, where the sandbox may answer by then.
    wait_until(lambda: "api.sock" in _health(world, API_SOCKET=sidecar.socket).stderr
               or len(sidecar.events("supervisor.start")) > 1, what="the time between")
    wait_until(lambda: _health(world, API_SOCKET=sidecar.socket).returncode == 0, timeout=15, what="--health")
