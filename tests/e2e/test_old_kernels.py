"""Kernels that lack a module which can be done without: it is said once, and everything else works."""

import pytest

from tests.support import dnsclient
from tests.support.preload import preloaded
from tests.support.tcpclient import connection, connects
from tests.support.waiting import wait_until

RULES = {"egress": [{"action": "allow", "target": "*.allowed.test"}, {"action": "allow", "target": "203.0.113.20"}]}
REPLIES = {"reject": "nft_reject_inet", "ctnetlink": "nf_conntrack_netlink", "inet_diag": "inet_diag", "limit": "nft_limit", "objref": "nft_log",
           "log": "nft_log"}


@pytest.mark.parametrize("lacks", REPLIES)
def test_kernel_that_lacks_what_can_be_done_without(world, start, tmp_path, lacks):
    sidecar = start(RULES=RULES, through=preloaded("old_kernel", tmp_path, LACKS=lacks))
    told = sidecar.wait_record(lambda record: record["level"] == "warn" and REPLIES[lacks] in record["msg"])
    assert dnsclient.addresses(dnsclient.ask(world.sandbox, "www.allowed.test")) == ["203.0.113.10"]
    for _ in range(2):
        assert connects(world.sandbox, "203.0.113.10") and connects(world.sandbox, "203.0.113.20")
        assert not connects(world.sandbox, "203.0.113.66", timeout=0.5)
        world.sandbox.nft("delete table inet opensandbox")
        assert sidecar.request("PATCH", "/policy", [{"action": "deny", "target": "203.0.113.77"}]).status == 200
    assert [record["msg"] for record in sidecar.records].count(told["msg"]) == 1
    assert not [record for record in sidecar.records if record["level"] == "error"
                and "changed from outside" not in record["msg"]]
    assert sidecar.healthy()


def test_open_flow_ends_when_conntrack_cannot_be_listed(world, start, tmp_path):
    sidecar = start(RULES=RULES, through=preloaded("old_kernel", tmp_path, LACKS="ctnetlink"))
    with connection(world.sandbox, "203.0.113.20") as flow:
        assert sidecar.request("DELETE", "/policy", ["203.0.113.20"]).status == 200

        def ended():
            try:
                flow.sendall(b"x")
            except OSError:
                return True
            return False
        wait_until(ended, what="the connection to end")
