"""Every attack of the suite: it succeeds without a sidecar, and not with one."""

import contextlib

import pytest

from tests.attack import answers, frames, names, packets  # noqa: F401
from tests.attack.suite import Stage, cases


@pytest.fixture(scope="module")
def stage(world, tmp_path_factory):
    with contextlib.closing(Stage(world, tmp_path_factory.mktemp("stage"))) as stage:
        yield stage


@pytest.mark.parametrize("case", cases(), ids=str)
def test_attack(stage, case):
    assert stage.play(case) == case.control, case.attack.run.__doc__
