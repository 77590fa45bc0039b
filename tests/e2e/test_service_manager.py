"""What a service manager such as systemd is told (sd_notify(3)). Real systemd: tests/package."""

import os
import signal
import socket

import pytest

from tests.support.waiting import wait_until


@pytest.fixture
def manager(tmp_path):
    """The manager's end of its socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        yield manager


def _hears(manager):
    return manager.recv(4096).decode().splitlines()


def test_ready_when_enforcement_is_in_place_and_stopping_with_the_time_it_takes(world, start, manager):
    sidecar = start(healthy=False, NOTIFY_SOCKET=manager.getsockname(), DRAIN_SEC="2")
    assert "READY=1" in _hears(manager)
    assert sidecar.healthy() and world.sandbox.table(), "ready means ready"
    sidecar.signal(signal.SIGTERM)
    told = _hears(manager)
    assert "STOPPING=1" in told and "EXTEND_TIMEOUT_USEC=22000000" in told
    assert sidecar.wait_end() == 0


def test_failed_start_is_never_ready(start, manager):
    sidecar = start(healthy=False, NOTIFY_SOCKET=manager.getsockname(), MODE="off")
    assert sidecar.wait_end() == 78
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(4096)


def test_signs_of_life_end_when_the_loop_hangs(start, manager):
    sidecar = start(healthy=False, NOTIFY_SOCKET=manager.getsockname(), WATCHDOG_USEC="200000")
    assert "READY=1" in _hears(manager)
    for _ in range(3):
        assert _hears(manager) == ["WATCHDOG=1"]
    # The loop is the main thread; SIGSTOP would stop all of them.
    os.kill(sidecar.process.pid, signal.SIGSTOP)
    wait_until(lambda: "T (stopped)" in open(f"/proc/{sidecar.process.pid}/status").read(), what="the stop")
    manager.setblocking(False)
    try:
        with pytest.raises(BlockingIOError):
            while True:
                manager.recv(4096)
        manager.settimeout(1)
        with pytest.raises(TimeoutError):
            manager.recv(4096)
    finally:
        os.kill(sidecar.process.pid, signal.SIGCONT)
    manager.settimeout(10)
    assert _hears(manager) == ["WATCHDOG=1"]
