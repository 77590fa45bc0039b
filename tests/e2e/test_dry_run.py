"""?dryRun=true says what a change would do, and does nothing of it."""

import pytest

from tests.e2e.test_policy_api import rules
from tests.support import dnsclient
from tests.support.tcpclient import connection, connects, refusal_seconds


def _learn(world, sidecar):
    for name in "www.allowed.test", "api.allowed.test", "v4only.allowed.test":
        dnsclient.ask(world.sandbox, name)
    return sidecar


@pytest.fixture
def sidecar(world, start, tmp_path):
    return _learn(world, start(POLICY_FILE=str(tmp_path / "policy.json"),
                               RULES={"egress": rules("+www.allowed.test +api.allowed.test +*.allowed.test")}))


def _revoked(forecast):
    assert forecast["revokedTotal"] == len(forecast["revoked"])
    assert all(lease["state"] == "learned" and 0 < lease["seconds"] <= 120 for lease in forecast["revoked"])
    return sorted((lease["address"], *lease["names"]) for lease in forecast["revoked"])


CHANGES = [
    ("POST", {"defaultAction": "deny", "egress": rules("+*.allowed.test -www.allowed.test")},
     "-www.allowed.test", "+www.allowed.test +api.allowed.test", []),
    ("PUT", "", "", "+www.allowed.test +api.allowed.test +*.allowed.test",
     [("203.0.113.10", "www.allowed.test"), ("203.0.113.11", "api.allowed.test"),
      ("203.0.113.13", "v4only.allowed.test")]),
    ("PATCH", rules("-www.allowed.test"), "-www.allowed.test", "+www.allowed.test",
     [("203.0.113.10", "www.allowed.test")]),
    ("PATCH", rules("-203.0.113.11"), "-203.0.113.11", "", [("203.0.113.11", "api.allowed.test")]),
    ("DELETE", ["*.allowed.test"], "", "+*.allowed.test", [("203.0.113.13", "v4only.allowed.test")]),
]


@pytest.mark.parametrize("method, body, added, removed, revoked", CHANGES)
def test_forecast_comes_true(world, sidecar, tmp_path, method, body, added, removed, revoked):
    before = sidecar.request("GET", "/policy")
    table = world.sandbox.run("nft", "-s", "list", "ruleset").stdout
    reply = sidecar.request(method, "/policy?dryRun=true", body)
    assert reply.status == 200
    forecast = reply.json()
    assert forecast["dryRun"] is True
    assert (forecast["added"], forecast["removed"]) == (rules(added), rules(removed))
    assert _revoked(forecast) == revoked

    assert sidecar.request("GET", "/policy").headers["ETag"] == before.headers["ETag"]
    assert world.sandbox.run("nft", "-s", "list", "ruleset").stdout == table
    assert not (tmp_path / "policy.json").exists()
    for address in "203.0.113.10", "203.0.113.11", "203.0.113.13":
        assert connects(world.sandbox, address)
    assert not sidecar.events("updated") and not sidecar.events("update_failed")

    assert sidecar.request(method, "/policy", body, {"If-Match": before.headers["ETag"]}).status == 200
    assert sidecar.request("GET", "/policy").json()["mode"] == forecast["mode"]
    for address in "203.0.113.10", "203.0.113.11", "203.0.113.13":
        if address in [lease[0] for lease in revoked]:
            refusal_seconds(world.sandbox, address)
        else:
            assert connects(world.sandbox, address)


def test_it_is_checked_like_a_change(sidecar):
    for method, body, status in ("POST", "{", 400), ("PATCH", "[]", 400), ("DELETE", "", 400):
        reply = sidecar.request(method, "/policy?dryRun=true", body)
        assert (reply.status, reply.text) == (status, sidecar.request(method, "/policy", body).text)
    assert sidecar.request("POST", "/policy?dryRun=true", "", {"If-Match": '"stale"'}).status == 412
    assert sidecar.request("POST", "/policy?dryRun=perhaps", "").status == 400


def test_always_rules_count(world, start, tmp_path):
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules/allow.always").write_text("api.allowed.test\n")
    sidecar = _learn(world, start(RULES={"egress": rules("+*.allowed.test")}))
    forecast = sidecar.request("POST", "/policy?dryRun=true", "").json()
    assert [lease["names"] for lease in forecast["revoked"]] != []
    assert "api.allowed.test" not in str(forecast["revoked"])


def _flows(forecast):
    assert forecast["flowsTotal"] == len(forecast["flows"])
    return sorted((flow["protocol"], flow["peer"], flow["port"]) for flow in forecast["flows"])


def test_open_flows_that_would_end(world, sidecar):
    def forecast(method, body):
        return _flows(sidecar.request(method, "/policy?dryRun=true", body).json())

    with connection(world.sandbox, "203.0.113.10") as www, connection(world.sandbox, "203.0.113.11") as api, \
            connection(world.sandbox, "203.0.113.11"):
        assert forecast("PATCH", rules("-www.allowed.test")) == [("tcp", "203.0.113.10", 80)]
        assert forecast("PATCH", rules("-203.0.113.11")) == [("tcp", "203.0.113.11", 80)] * 2
        assert forecast("POST", "") == [("tcp", "203.0.113.10", 80), ("tcp", "203.0.113.11", 80),
                                        ("tcp", "203.0.113.11", 80)]
        assert forecast("PATCH", rules("+203.0.113.11 -*.test")) == [("tcp", "203.0.113.10", 80)]
        assert forecast("PATCH", rules("-203.0.113.12")) == []
        for flow in www, api:  # nothing has happened to them
            flow.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert flow.recv(1000).startswith(b"HTTP/1.1 200")


def test_dns_mode_has_no_addresses_to_lose(world, start):
    sidecar = _learn(world, start(MODE="dns", RULES={"egress": rules("+*.allowed.test")}))
    forecast = sidecar.request("POST", "/policy?dryRun=true", "").json()
    assert (forecast["removed"], forecast["revoked"], forecast["revokedTotal"]) == (rules("+*.allowed.test"), [], 0)
    assert (forecast["flows"], forecast["flowsTotal"]) == ([], 0)
