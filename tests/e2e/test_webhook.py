"""The webhook: what it is told, whatever the policy, whoever listens."""

import datetime
import re

import pytest

from tests.support import dnsclient
from tests.support.receiver import Receiver

HOOK_V4, HOOK_V6, PORT = "203.0.113.80", "2001:db8::53", 8080


@pytest.fixture
def receiver(world):
    """receiver(behave, address, port, tls) listens in the internet."""
    receivers = []

    def start_one(behave=lambda post: 200, address=HOOK_V4, port=PORT, **options):
        receivers.append(Receiver(world.internet, address, port, behave, **options))
        return receivers[-1]

    yield start_one
    for one in receivers:
        one.close()


def test_denied_names_are_told(world, start, receiver):
    hook = receiver()
    sidecar = start(DENY_WEBHOOK=f"http://{HOOK_V4}:{PORT}/hook?key=1", SANDBOX_ID='sbx-"1"')
    before = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    assert dnsclient.rcode(dnsclient.ask(world.sandbox, "WWW.Other.test")) == "NXDOMAIN"
    hook.wait_told("www.other.test")
    post = hook.posts[0]
    body = post.json()
    told = datetime.datetime.strptime(body.pop("timestamp"), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc)
    assert before <= told <= datetime.datetime.now(datetime.timezone.utc)
    assert body == {"hostname": "www.other.test", "source": "opensandbox-egress", "sandboxId": 'sbx-"1"'}
    assert post.path == "/hook?key=1" and post.headers["Content-Type"] == "application/json"
    assert re.fullmatch(r"opensandbox-egress/[\w.]+", post.headers["User-Agent"])
    assert len(sidecar.events("denied")) == len(hook.posts) == 1
