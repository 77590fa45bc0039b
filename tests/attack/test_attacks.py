"""Every attack of the suite: it succeeds without a sidecar, and not with one, unless SECURITY.md says so."""

import contextlib

import pytest

from tests.attack import answers, frames, names, packets, sockets  # noqa: F401
from tests.attack.suite import Stage, cases, documented


@pytest.fixture(scope="module")
def stage(world, tmp_path_factory):
    with contextlib.closing(Stage(world, tmp_path_factory.mktemp("stage"))) as stage:
        yield stage


@pytest.mark.parametrize("case", cases(), ids=str)
def test_attack(stage, case):
    assert not case.attack.open or documented(case.attack.open)
    assert stage.play(case) == case.succeeds, case.attack.run.__doc__
