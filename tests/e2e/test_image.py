"""The root file system that scripts/image makes for the container image, run as a container would run it, with the entry
point and the health check of the Dockerfile."""

import json
import os
import re
import signal
import subprocess

import pytest

from tests.support import dnsclient
from tests.support.container import Container
from tests.support.sidecar import BINARY, ROOT, UNDER, Client, environment
from tests.support.tcpclient import connects, refusal_seconds, refused_at_once
from tests.support.threads import threads
from tests.support.waiting import wait_until
from tests.support.world import UPSTREAM_V4

RULES = {"egress": [{"action": "allow", "target": "*.allowed.test"}]}
DOCKERFILE = (ROOT / "packaging/oci/Dockerfile").read_text()
BINARIES = ("usr/bin/opensandbox-egress", "egress", "opt/opensandbox-egress/egress")  # the latter two: the reference's
pytestmark = pytest.mark.skipif(UNDER != "", reason="the image's own program is run")


def _words(instruction):
    """Those of the final image's instruction, which has the form of a list."""
    return json.loads(re.search(rf"^{instruction}\b.*?(\[.*\])$", DOCKERFILE, re.MULTILINE).group(1))


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    with open(BINARY, "rb") as binary:
        if b"__asan_init" in binary.read():
            pytest.skip("an image has no sanitizers in it")
    folder = tmp_path_factory.mktemp("image") / "root"
    done = subprocess.run([ROOT / "scripts/image", folder, BINARY], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(re.search(r"([\d.]+) MiB$", done.stdout.strip()).group(1)) <= 30
    return folder


@pytest.fixture
def container(world, image):
    """container(settings) runs the entry point; ends with the test."""
    containers = []

    def run(**settings):
        env = environment({"MODE": "dns+nft", "DNS_UPSTREAM": UPSTREAM_V4, "RULES": RULES, **settings})
        container = Container(world.sandbox, image, _words("ENTRYPOINT"), env)
        containers.append(container)
        wait_until(lambda: Client(world.sandbox).healthy() or container.process.poll() is not None, timeout=15,
                   what="/healthz")
        assert container.process.poll() is None, container.process.stdout.read()
        return container

    yield run
    for one in containers:
        one.close()
    for family in "inet", "netdev":
        world.sandbox.run("nft", "delete", "table", family, "opensandbox")


def test_container_guards_its_pod(world, container):
    running = container()
    assert dnsclient.addresses(dnsclient.ask(world.sandbox, "www.allowed.test")) == ["203.0.113.10"]
    assert connects(world.sandbox, "203.0.113.10")
    assert dnsclient.rcode(dnsclient.ask(world.sandbox, "www.other.test")) == "NXDOMAIN"
    assert refused_at_once(refusal_seconds, world.sandbox, "203.0.113.66")
    sidecar, = running.children()
    for pid in running.init, sidecar:
        with open(f"/proc/{pid}/status") as status:
            assert re.search(r"^CapEff:\s*0*1000$", status.read(), re.MULTILINE)
    done = running.run(_words("HEALTHCHECK"))
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr
    os.kill(sidecar, signal.SIGKILL)
    wait_until(lambda: running.children() not in ([], [sidecar]), what="another sidecar")
    os.kill(running.init, signal.SIGTERM)
    code, output = running.wait_end()
    assert code == 0, output
    assert world.sandbox.table() and refused_at_once(refusal_seconds, world.sandbox, "203.0.113.66")


def test_health_check_says_no_when_nobody_answers(container):
    running = container()
    sidecar = running.children()[0]
    os.kill(sidecar, signal.SIGSTOP)
    wait_until(lambda: {thread["State"] for thread in threads(sidecar)} == {"T (stopped)"}, what="all of it to stop")
    assert running.run(_words("HEALTHCHECK")).returncode == 1


def test_program_is_where_the_reference_has_it(image):
    for path in BINARIES:
        done = subprocess.run(["unshare", f"--root={image}", f"/{path}", "--version"], capture_output=True, text=True,
                              check=False)
        assert done.returncode == 0 and done.stdout.startswith("opensandbox-egress "), done.stderr


def test_what_leaves_over_the_network_finds_its_libraries(world, container):
    """libcurl is loaded only when an endpoint is set; TLS wants certificates."""
    running = container(DENY_WEBHOOK="https://203.0.113.10/", OTEL_EXPORTER_OTLP_ENDPOINT="http://203.0.113.10:4318")
    with open(f"/proc/{running.children()[0]}/maps") as maps:
        assert "libcurl.so.4" in maps.read()
    assert (running.run(_words("HEALTHCHECK"))).returncode == 0


def test_nothing_else_is_in_it(image):
    """No shell, no interpreter, nothing with more rights than its caller."""
    executables = set()
    for folder, _, names in os.walk(image):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.islink(path):
                continue
            mode = os.stat(path).st_mode
            assert not mode & 0o6000, path
            if mode & 0o111 and ".so" not in name:
                executables.add(os.path.relpath(path, image))
    assert executables == {BINARIES[0]}
