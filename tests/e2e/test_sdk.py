"""OpenSandbox's own JavaScript SDK, as npm has it, manages the policy of a sidecar from outside the sandbox."""

import json
import re
import shutil
import subprocess

import pytest

from tests.support import dnsclient
from tests.support.sidecar import PORT, ROOT
from tests.support.waiting import wait_until
from tests.support.world import SANDBOX_V4

SDK = "@alibaba-group/opensandbox@0.1.11"
NODE = 18  # it asks for 20, and works with Debian's
OPTIONS = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--fetch-retries=1",
           "--fetch-timeout=20000")
pytestmark = pytest.mark.timeout(400)  # npm may take its time twice


def _npm(folder, *arguments):
    """Everything that npm keeps goes into the folder."""
    try:
        return subprocess.run(["npm", *arguments, *OPTIONS, "--prefix", folder, "--cache", folder / "cache"],
                              capture_output=True, text=True, check=False, timeout=90)
    except subprocess.TimeoutExpired as late:
        return subprocess.CompletedProcess(late.cmd, 1, "", "no answer within 90 s")


@pytest.fixture(scope="module")
def sdk(tmp_path_factory):
    """A folder with the SDK and the script that uses it."""
    if not shutil.which("npm") or not shutil.which("node"):
        pytest.skip("node and npm are not there")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    if int(re.match(r"v(\d+)", version).group(1)) < NODE:
        pytest.skip(f"the SDK needs node {NODE}; here is {version.strip()}")
    folder = tmp_path_factory.mktemp("sdk")
    seen = _npm(folder, "view", SDK, "version")
    if seen.returncode != 0:
        reason = re.search(r"^npm (?:error|ERR!) (code .*)$", seen.stderr, re.MULTILINE)
        pytest.skip(f"npm cannot reach {SDK}: {reason.group(1) if reason else seen.stderr}")
    installed = _npm(folder, "install", SDK)
    if installed.returncode != 0:
        pytest.skip("npm: " + installed.stderr[-300:])
    shutil.copy(ROOT / "tests/support/sdk.mjs", folder)
    return folder


@pytest.fixture
def use(sdk, world):
    """use(("egress", "getPolicy"), …, token=…) returns what came of each call: {value: …}, or {error: …, status: …}."""
    def calls(*wanted, token=None):
        headers = {"OPENSANDBOX-EGRESS-AUTH": token} if token else {}
        done = world.internet.run("node", str(sdk / "sdk.mjs"), f"http://{SANDBOX_V4}:{PORT}", json.dumps(headers),
                                  json.dumps(wanted))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
    return calls


def _allow(target):
    return {"action": "allow", "target": target}


def _deny(target):
    return {"action": "deny", "target": target}


def _rcode(world, name):
    return dnsclient.rcode(dnsclient.ask(world.sandbox, name))


def test_policy_is_read_patched_and_rules_deleted(world, start, use):
    sidecar = start(RULES={"defaultAction": "deny", "egress": [_deny("*.wild.test")]}, TOKEN="secret")
    assert _rcode(world, "www.allowed.test") == "NXDOMAIN"
    before, patched, after = use(("egress", "getPolicy"),
                                 ("egress", "patchRules", [_allow("a.wild.test"), _allow("www.allowed.test")]),
                                 ("egress", "getPolicy"), token="secret")
    assert before == {"value": {"defaultAction": "deny", "egress": [_deny("*.wild.test")]}}
    assert patched == {"value": None}
    assert after == {"value": {"defaultAction": "deny",
                               "egress": [_allow("a.wild.test"), _allow("www.allowed.test"), _deny("*.wild.test")]}}
    assert [_rcode(world, name) for name in ("www.allowed.test", "a.wild.test", "b.wild.test")] == \
        ["NOERROR", "NOERROR", "NXDOMAIN"]
    deleted, nothing, rest = use(("egress", "deleteRules", ["www.allowed.test", "*.wild.test"]),
                                 ("egress", "deleteRules", ["not.there.test"]), ("egress", "getPolicy"), token="secret")
    assert deleted == nothing == {"value": None}
    assert rest["value"]["egress"] == [_allow("a.wild.test")]
    assert [_rcode(world, name) for name in ("www.allowed.test", "a.wild.test")] == ["NXDOMAIN", "NOERROR"]
    wait_until(lambda: len(sidecar.events("updated")) == 2, what="a record of each change")


def test_errors_reach_the_caller(start, use):
    sidecar = start(RULES={"egress": [_allow("www.allowed.test")]}, MAX_RULES="2")
    outcomes = use(("egress", "patchRules", []), ("egress", "patchRules", [_allow("http://www.other.test")]),
                   ("egress", "patchRules", [{"action": "perhaps", "target": "www.other.test"}]),
                   ("egress", "patchRules", [_allow("a.test"), _allow("b.test")]), ("egress", "deleteRules", []))
    assert [(outcome["error"], outcome["status"]) for outcome in outcomes] == \
        [("SandboxApiException", status) for status in (400, 400, 400, 413, 400)]
    for outcome, words in zip(outcomes, ("invalid patch rules: empty array", "http://www.other.test", "perhaps",
                                         "egress rule total count 3 exceeds limit 2",
                                         "invalid delete targets: empty array")):
        assert words in outcome["body"]
    assert sidecar.policy()["egress"] == [_allow("www.allowed.test")]


@pytest.mark.parametrize("token", [None, "wrong"])
def test_without_the_token_nothing_is_told_or_changed(start, use, token):
    sidecar = start(RULES={"egress": [_allow("www.allowed.test")]}, TOKEN="secret")
    for outcome in use(("egress", "getPolicy"), ("egress", "patchRules", [_allow("www.other.test")]),
                       ("egress", "deleteRules", ["www.allowed.test"]), token=token):
        assert (outcome["error"], outcome["status"]) == ("SandboxApiException", 401)
        assert outcome["body"].strip() == "unauthorized"
    assert not sidecar.events("updated")


def test_vault_says_that_there_is_none(start, use):
    """Its methods fail with the statuses that the SDK's callers know, since there is no credential proxy."""
    start(TOKEN="secret")
    got, made, deleted = use(("credentialVault", "get"), ("credentialVault", "create", {"credentials": []}),
                             ("credentialVault", "delete"), token="secret")
    assert [(outcome["error"], outcome["status"]) for outcome in (got, made, deleted)] == \
        [("SandboxApiException", status) for status in (404, 412, 412)]
    assert "credential proxy is not enabled" in made["message"]
