"""scripts/run shows what it promises, and leaves nothing behind."""

import os
import pty
import re
import signal
import subprocess

import pytest

from tests.support.sidecar import ROOT, environment
from tests.support.waiting import wait_until

RUN = str(ROOT / "scripts/run")
pytestmark = pytest.mark.timeout(400)  # the program may have to be built


def _left_behind(pid):
    """Namespaces and folders with the pid of a run in their name."""
    return [entry for folder in ("/run/netns", "/etc/netns") if os.path.isdir(folder)
            for entry in os.listdir(folder) if entry.endswith(f"-{pid}")]


def _shows_the_main_job(text):
    allowed, denied, direct = re.split(r"^A denied name:|^The address of that name", text, flags=re.MULTILINE)
    assert "status: NOERROR" in allowed and "203.0.113.10" in allowed and "This is pypi.example." in allowed
    assert "status: NXDOMAIN" in denied and "Blocked" in denied and "Could not resolve host" in denied
    assert direct.count("Couldn't connect to server") == 2


def test_demonstration_ends_when_nobody_is_at_the_terminal():
    process = subprocess.Popen([RUN], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)
    text, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    _shows_the_main_job(text)
    assert not _left_behind(process.pid)


def test_demonstration_stays_until_interrupted(tmp_path):
    main, terminal = pty.openpty()
    output = tmp_path / "output"
    with open(output, "w") as stdout:
        # As from a terminal: whoever runs the tests in the background has SIGINT ignored, and children inherit that.
        process = subprocess.Popen([RUN], stdin=terminal, stdout=stdout, stderr=stdout, start_new_session=True,
                                   preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    os.close(terminal)
    try:
        wait_until(lambda: "Ctrl-C ends it" in output.read_text() or process.poll(), timeout=300, what="the hints")
        assert process.poll() is None, output.read_text()
        _shows_the_main_job(output.read_text())
        patch = re.search(r"ip netns exec .* -X PATCH .*", output.read_text()).group()
        assert '"status":"ok"' in subprocess.run(patch, shell=True, capture_output=True, text=True, check=True).stdout
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)
        os.close(main)
    assert not _left_behind(process.pid)


def test_here_becomes_the_sidecar(world):
    done = world.sandbox.run(RUN, "--here", env=environment({"MODE": "nonsense"}), timeout=300)
    assert done.returncode == 78 and "OPENSANDBOX_EGRESS_MODE" in done.stderr
    world.sandbox.nft("delete table inet opensandbox")


def test_wrong_argument():
    done = subprocess.run([RUN, "--nonsense"], capture_output=True, text=True, check=False)
    assert done.returncode == 64 and "scripts/run --once" in done.stderr


@pytest.mark.parametrize("script", ["run", "test"])
def test_who_is_not_root_is_told_so(script):
    done = subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", str(ROOT / "scripts" / script)],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 77 and "started by root" in done.stderr and len(done.stderr.splitlines()) == 1
    assert not done.stdout
