"""The always files: whatever way they change, the change is live within a second."""

import os
import shutil
import time

import pytest

from tests.support import dnsclient
from tests.support.tcpclient import connects, refusal_seconds
from tests.support.waiting import PATIENCE, wait_until

RULES = {"egress": [{"action": "allow", "target": "*.allowed.test"}, {"action": "allow", "target": "203.0.113.13"}]}
DENIED = "api.allowed.test\n203.0.113.13\n"


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "rules"
    folder.mkdir()
    return folder


def _denied(world):
    return dnsclient.rcode(dnsclient.ask(world.sandbox, "api.allowed.test")) == "NXDOMAIN"


def _live_soon(world, denied=True):
    """Returns the seconds it took: no more than one, and what other programs of the machine take."""
    written = time.monotonic()
    wait_until(lambda: _denied(world) is denied, timeout=5.0, what="the rules")
    seconds = time.monotonic() - written
    assert seconds < 3.0 * PATIENCE
    if denied:
        refusal_seconds(world.sandbox, "203.0.113.13")
    else:
        assert connects(world.sandbox, "203.0.113.13")
    return seconds


def _in_place(folder):
    (folder / "deny.always").write_text(DENIED)


def _renamed_over(folder):
    (folder / ".new").write_text(DENIED)
    os.rename(folder / ".new", folder / "deny.always")


def _slowly(folder):
    with open(folder / "deny.always", "w", encoding="ascii") as file:
        for line in DENIED.splitlines():
            file.write(line + "\n")
            file.flush()
            time.sleep(0.05)


@pytest.mark.parametrize("exists", [False, True], ids=["new", "old"])
@pytest.mark.parametrize("write", [_in_place, _renamed_over, _slowly])
def test_written_file_is_live(world, start, folder, write, exists):
    """Within a second; the best of three."""
    file = folder / "deny.always"
    if exists:
        file.write_text("other.test\n")
    sidecar = start(RULES=RULES)
    assert not _denied(world) and connects(world.sandbox, "203.0.113.13")
    seconds = []
    for _ in range(3):
        write(folder)
        seconds.append(_live_soon(world))
        if exists:
            file.write_text("other.test\n")
        else:
            file.unlink()
        _live_soon(world, denied=False)
    assert min(seconds) < 1.0 * PATIENCE
    rules = [{"action": "deny", "target": target} for target in DENIED.split()]
    sidecar.wait_event("updated", source="always", rules=rules)


def test_deleted_file_has_no_rules(world, start, folder):
    _in_place(folder)
    start(RULES=RULES)
    assert _denied(world)
    (folder / "deny.always").unlink()
    _live_soon(world, denied=False)


def test_folder_that_comes_and_goes(world, start, tmp_path):
    folder = tmp_path / "etc/egress/rules"
    start(RULES=RULES, RULES_DIR=str(folder))
    folder.mkdir(parents=True)
    _in_place(folder)
    _live_soon(world)
    shutil.rmtree(tmp_path / "etc")
    _live_soon(world, denied=False)
    folder.mkdir(parents=True)
    _in_place(folder)
    _live_soon(world)


def _config_map_version(folder, name, text):
    """What the kubelet does: a folder per version, a link to it that is exchanged, links by name through that."""
    (folder / name).mkdir()
    (folder / name / "deny.always").write_text(text)
    (folder / "..data_tmp").symlink_to(name)
    old = os.readlink(folder / "..data") if (folder / "..data").is_symlink() else None
    os.rename(folder / "..data_tmp", folder / "..data")
    if old:
        shutil.rmtree(folder / old)


def test_config_map(world, start, folder):
    _config_map_version(folder, "..1", "other.test\n")
    (folder / "deny.always").symlink_to("..data/deny.always")
    start(RULES=RULES)
    assert not _denied(world)
    seconds = []
    for i in range(3):
        _config_map_version(folder, f"..{i}.denied", DENIED)
        seconds.append(_live_soon(world))
        _config_map_version(folder, f"..{i}.open", "other.test\n")
        _live_soon(world, denied=False)
    assert min(seconds) < 1.0 * PATIENCE


def test_file_elsewhere_behind_a_link(world, start, folder, tmp_path):
    (tmp_path / "shared").write_text("other.test\n")
    (folder / "deny.always").symlink_to("../shared")
    start(RULES=RULES)
    (tmp_path / "shared").write_text(DENIED)
    _live_soon(world)


def _errors(sidecar, place):
    return [record for record in sidecar.events("update_failed", source="always") if place in record["error"]]


def test_broken_version_keeps_the_last_good_rules_and_is_logged_once(world, start, folder):
    deny = folder / "deny.always"
    _in_place(folder)
    sidecar = start(RULES=RULES)
    for lines in 1, 2:
        deny.write_text("other.test\n" * lines + "https://nonsense/\n")
        place = f"{deny}:{lines + 1}: "
        record = sidecar.wait_record(lambda r, place=place: place in r.get("error", ""))
        assert record["level"] == "error" and record["opensandbox.event"] == "egress.update_failed"
        assert _denied(world)
        refusal_seconds(world.sandbox, "203.0.113.13")
        # What is not about the version does not tell of it again.
        (folder / "other").write_text("x")
        time.sleep(0.4)
        assert len(_errors(sidecar, place)) == 1
    assert not sidecar.events("updated", source="always")
    deny.write_text("other.test\n")
    _live_soon(world, denied=False)


def test_learned_addresses_go_with_a_new_deny(world, start, folder):
    start(RULES=RULES)
    assert dnsclient.addresses(dnsclient.ask(world.sandbox, "api.allowed.test")) == ["203.0.113.11"]
    assert connects(world.sandbox, "203.0.113.11")
    _in_place(folder)
    _live_soon(world)
    refusal_seconds(world.sandbox, "203.0.113.11")
