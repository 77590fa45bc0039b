"""GET /events: what the sandbox tries to reach, live."""

import datetime
import threading
import time

import pytest

from tests.support import dnsclient, resolver as faults
from tests.support.sidecar import Client
from tests.support.tcpclient import connects
from tests.support.waiting import PATIENCE, wait_until
from tests.support.world import SANDBOX_V4

SLOW = "192.0.2.99"
RULES = {"egress": [{"action": "deny", "target": "*.wild.test"}, {"action": "allow", "target": "*.allowed.test"}]}


def _look(sidecar, query="", headers=None):
    return _events(sidecar.request("GET", f"/events{query}", headers=headers))


def _events(reply):
    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json"), reply.text
    assert reply.headers["Cache-Control"] == "no-store"
    return reply.json()


def _hosts(answer):
    return [event["target.host"] for event in answer["events"] if "target.host" in event]


def _begin(sidecar):
    """The number of the event that tells of the start."""
    return wait_until(lambda: _look(sidecar)["last"], what="egress.loaded")


class Poll(threading.Thread):
    """One GET /events that waits, sent when this is made, and when its answer was there."""

    def __init__(self, sidecar, query, headers=None):
        super().__init__(daemon=True)
        self._receive = sidecar.send("GET", f"/events{query}", headers=headers)
        self.answer = self.at = None
        self.start()

    def run(self):
        answer = _events(self._receive())
        self.at = time.time()
        self.answer = answer

    def wait(self):
        self.join(30 * PATIENCE)
        assert self.answer, "no answer"
        return self.answer


def test_events_are_the_logs_in_their_order(world, start):
    sidecar = start(RULES=RULES, SANDBOX_ID="sbx-1")
    for name in "www.allowed.test", "a.wild.test", "www.other.test", "www.allowed.test":
        dnsclient.ask(world.sandbox, name)
    assert not connects(world.sandbox, "198.51.100.9")
    assert sidecar.request("PATCH", "/policy", [{"action": "allow", "target": "www.other.test"}]).status == 200
    assert sidecar.request("PATCH", "/policy", [{"action": "perhaps", "target": "x.test"}]).status == 400
    wait_until(lambda: sidecar.events("update_failed"), what="the last record")
    answer = _look(sidecar)
    assert (answer["status"], answer["lost"], answer["last"]) == ("ok", 0, len(answer["events"]))
    assert [event["number"] for event in answer["events"]] == list(range(1, answer["last"] + 1))
    common = {"level", "logger", "msg", "sandbox_id"}
    logged = [{k: v for k, v in record.items() if k not in common} for record in sidecar.records
              if "opensandbox.event" in record]
    assert [{k: v for k, v in event.items() if k != "number"} for event in answer["events"]] == logged
    kinds = [event["opensandbox.event"] for event in answer["events"]]
    assert {f"egress.{kind}" for kind in ("loaded", "outbound", "denied", "updated", "update_failed")} == set(kinds)
    denied = [event for event in answer["events"] if event["opensandbox.event"] == "egress.denied"]
    assert [(e.get("target.host"), e.get("peer"), e["rule"]) for e in denied] == [
        ("a.wild.test", None, "*.wild.test"), ("www.other.test", None, "default"), (None, "198.51.100.9", "default")]
    first, second = [event for event in answer["events"] if event.get("target.host") == "www.allowed.test"]
    assert first["latency_ms"] >= 0 and "latency_ms" not in second and second["cache"] == "hit"
    assert [e["number"] for e in _look(sidecar, f"?after={answer['last'] - 1}")["events"]] == [answer["last"]]


def test_latency_is_what_the_upstream_took(world, start, resolver):
    resolver(SLOW, faults.good)
    sidecar = start(RULES=RULES, DNS_UPSTREAM=SLOW)
    dnsclient.ask(world.sandbox, "slow.allowed.test")
    assert 400 < sidecar.wait_event("outbound", target_host="slow.allowed.test")["latency_ms"] < 6000


def test_waiting_look_is_answered_within_a_second_of_the_event(world, start):
    sidecar = start(RULES=RULES)
    last, delays = _begin(sidecar), []
    for number, name in enumerate(["a.wild.test", "b.wild.test", "c.wild.test"], last + 1):
        poll = Poll(sidecar, f"?after={number - 1}")
        asked = time.time()
        dnsclient.ask(world.sandbox, name)
        answer = poll.wait()
        assert _hosts(answer) == [name] and answer["last"] == number
        happened = datetime.datetime.fromisoformat(answer["events"][0]["ts"].replace("Z", "+00:00")).timestamp()
        assert asked - 0.1 <= happened
        delays.append(poll.at - happened)
    assert min(delays) < PATIENCE, "on a machine that is busy with other tests, one of three"


def test_events_below_the_log_level_are_shown_all_the_same(world, start):
    sidecar = start(RULES=RULES, LOG_LEVEL="warn")
    _look(sidecar)
    poll = Poll(sidecar, "?after=0")
    dnsclient.ask(world.sandbox, "www.allowed.test")
    assert _hosts(poll.wait()) == ["www.allowed.test"]
    dnsclient.ask(world.sandbox, "a.wild.test")
    assert _hosts(_look(sidecar, f"?after={poll.answer['last']}")) == ["a.wild.test"]
    sidecar.stop()
    assert not [record for record in sidecar.records if record["level"] == "info"]


def test_what_was_lost_is_told(world, start):
    sidecar = start(RULES=RULES)
    names = [f"n{i}.wild.test" for i in range(1500)]
    for name in names:
        dnsclient.ask(world.sandbox, name)
    wait_until(lambda: len(sidecar.events("denied")) == len(names), what="the records", timeout=20)
    answer = _look(sidecar, "?after=100")
    assert len(answer["events"]) == 1024
    assert answer["lost"] == answer["events"][0]["number"] - 101 and answer["last"] == answer["events"][-1]["number"]
    assert _hosts(answer) == names[-1024:]


def test_numbers_begin_anew_with_a_restart_and_the_answer_tells(world, start):
    sidecar = start(RULES=RULES)
    dnsclient.ask(world.sandbox, "a.wild.test")
    wait_until(lambda: "a.wild.test" in _hosts(_look(sidecar)), what="the event")
    before = _look(sidecar)
    sidecar.stop()
    sidecar.restart().wait_healthy()
    _begin(sidecar)
    for query in f"?after={before['last'] + 500}", f"?after=1&started={before['started']}":
        after = _look(sidecar, query)
        assert after["started"] > before["started"]
        assert [event["opensandbox.event"] for event in after["events"]] == ["egress.loaded"] and after["lost"] == 0


def test_token(start):
    sidecar = start(TOKEN="secret")
    for headers in {}, {"OPENSANDBOX-EGRESS-AUTH": "Secret"}:
        refused = sidecar.request("GET", "/events", headers=headers)
        assert (refused.status, refused.text) == (401, "unauthorized\n")
    _look(sidecar, headers={"OPENSANDBOX-EGRESS-AUTH": "secret"})


@pytest.mark.parametrize("word", ["0", "off"])
def test_switched_off(start, word):
    sidecar = start(UI=word)
    for path in "/events", "/events?after=0", "/":
        assert sidecar.request("GET", path).status == 404, path


def test_crowd_that_waits_keeps_nobody_away(world, start):
    sidecar = start(RULES=RULES)
    last = _begin(sidecar)
    outside = Client(world.internet, host=SANDBOX_V4, timeout=30)
    polls = [Poll(outside, f"?after={last}")] + [Poll(sidecar, f"?after={last}") for _ in range(40)]
    wait_until(lambda: sum(poll.answer is not None for poll in polls) >= 24, what="the crowd to be answered")
    assert polls[0].answer is None, "outside the sandbox there is room of its own"
    assert sidecar.healthy()
    dnsclient.ask(world.sandbox, "a.wild.test")
    assert _hosts(polls[0].wait()) == ["a.wild.test"]
    for poll in polls:
        poll.wait()


def test_few_connections_are_not_all_taken_by_those_who_wait(start):
    sidecar = start(HTTP_MAX_CONNECTIONS="4")
    last = _begin(sidecar)
    polls = []
    for number in range(1, 7):
        polls.append(Poll(sidecar, f"?after={last}"))
        wait_until(lambda number=number: sum(poll.answer is None for poll in polls) == min(number, 2),
                   what="the oldest to be answered")
        assert sidecar.healthy()
    assert sidecar.request("PATCH", "/policy", [{"action": "allow", "target": "www.other.test"}]).status == 200
    for poll in polls:
        poll.wait()


def test_stop_is_not_held_up(start):
    sidecar = start()
    poll = Poll(sidecar, f"?after={_begin(sidecar)}")
    assert sidecar.healthy()  # asked after it, so the other one waits by now
    began = time.monotonic()
    sidecar.stop()
    assert time.monotonic() - began < 4 * PATIENCE
    poll.wait()
