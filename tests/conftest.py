"""What every test gets: one world per module, and sidecars in it that are stopped, and their table removed, after each
test."""

import contextlib
import signal
import sys

import pytest

from tests.support.fountain import Fountain, open_download
from tests.support.resolver import Resolver
from tests.support.sidecar import Sidecar
from tests.support.world import World

# So that namespaces are removed then, too.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def pytest_collection_modifyitems(config, items):
    if config.getoption("reruns", 0):
        for item in items:
            if item.get_closest_marker("once"):
                item.add_marker(pytest.mark.flaky(reruns=0))


def pytest_terminal_summary(terminalreporter):
    """What was wrong at the first try of what was run again: nothing else tells."""
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.section(f"run again: {report.nodeid}")
        terminalreporter.line(report.longreprtext)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("world"))
    yield world
    world.close()


@pytest.fixture
def start(world, tmp_path):
    """start(RULES=…, MODE=…) starts a sidecar in the sandbox; with healthy=False it does not wait for /healthz."""
    sidecars = []

    def start_one(healthy=True, **settings):
        sidecar = Sidecar(world.sandbox, tmp_path, **settings)
        sidecars.append(sidecar)
        return sidecar.wait_healthy() if healthy else sidecar

    yield start_one
    try:
        for sidecar in sidecars:
            sidecar.stop()
    finally:
        for sidecar in sidecars:
            if sidecar.process.poll() is None:
                sidecar.kill()
        for family in "inet", "netdev":
            world.sandbox.run("nft", "delete", "table", family, "opensandbox")


@pytest.fixture
def resolver(world):
    """resolver(address, behave) starts a resolver in the internet."""
    resolvers = []

    def start_one(address, behave):
        resolvers.append(Resolver(world.internet, address, behave))
        return resolvers[-1]

    yield start_one
    for one in resolvers:
        one.close()


@pytest.fixture
def download(world):
    """download(address, kind) opens a flow in which, after a first word, only the server sends."""
    with contextlib.ExitStack() as stack:
        fountains = {}

        def open_one(address, kind):
            if (address, kind) not in fountains:
                fountains[address, kind] = stack.enter_context(contextlib.closing(
                    Fountain(world.internet, address, kind)))
            return stack.enter_context(open_download(world.sandbox, address, kind))

        yield open_one
