"""The API attacked from inside the sandbox: its token sniffed, its port taken first, a browser that is sent there, tokens
guessed."""

import concurrent.futures
import contextlib
import functools
import http.server
import socket
import threading
import time

import pytest

from tests.support.browser import Browser
from tests.support.metrics import Scrape
from tests.support.sidecar import PORT, Client, command
from tests.support.tap import Tap
from tests.support.waiting import PATIENCE, wait_until
from tests.support.world import GATEWAY_V4, SANDBOX_V4, SANDBOX_V6

TOKEN = "s3cret-s3cret-s3cret"
AUTH = {"OPENSANDBOX-EGRESS-AUTH": TOKEN}
WRONG = {"OPENSANDBOX-EGRESS-AUTH": "wrong"}
OPEN = {"defaultAction": "allow"}
GUESSES = 10  # a second
UNAVAILABLE = 69


# --- A13: the token sniffed ---

@pytest.fixture
def sniffer(world):
    """What a program with CAP_NET_RAW in the sandbox sees of loopback."""
    with contextlib.closing(Tap(world.sandbox, "lo")) as tap:
        yield tap


def _said_by_ctl(world, sniffer, **where):
    """The token as `ctl` says it, where the sandbox listens."""
    done = command(world.sandbox, ["ctl", "policy", "get"], {"TOKEN": TOKEN, **where})
    assert done.returncode == 0, done
    with world.sandbox.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"the end of it", ("127.0.0.1", 9))
    wait_until(lambda: sniffer.holding(b"the end of it"), what="the sniffer")
    return bool(sniffer.holding(TOKEN.encode()))


@pytest.mark.parametrize("way", ["address", "socket"])
def test_token_of_ctl_is_sniffed_at_the_address_alone(world, start, sniffer, way):
    sidecar = start(TOKEN=TOKEN)
    where = {} if way == "address" else {"API_SOCKET": sidecar.socket}
    assert _said_by_ctl(world, sniffer, **where) == (way == "address")


@pytest.mark.parametrize("settings, warned", [({"TOKEN": TOKEN}, True), ({"TOKEN": TOKEN, "HTTP_ADDR": "0.0.0.0:18080"}, True),
                                              ({"TOKEN": TOKEN, "HTTP_ADDR": "127.0.0.1:18080"}, False), ({}, False)])
def test_token_in_the_clear_is_warned_of(start, settings, warned):
    sidecar = start(**settings)
    sidecar.wait_event("loaded")
    assert warned == any("sent in the clear" in record["msg"] for record in sidecar.records)


# --- A14: the port taken before the first start ---

class _Impostor(http.server.BaseHTTPRequestHandler):
    """Says what a sidecar would, and keeps the tokens."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.tokens.append(self.headers["OPENSANDBOX-EGRESS-AUTH"])
        body = b"ok" if self.path == "/healthz" else b"{}"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def _impostor(world):
    with world.sandbox.inside():
        server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), _Impostor)
    server.tokens = []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_port_taken_before_the_first_start(world, tmp_path):
    """The start ends and says who may have the port; health and `ctl` do not believe, or tell a token to, who has it."""
    where = {"API_SOCKET": str(tmp_path / "api.sock"), "TOKEN": TOKEN}
    with _impostor(world) as impostor:
        # The control: without a socket, health is what the sandbox says, and the token is its.
        assert command(world.sandbox, ["--health"], {"API_SOCKET": "off"}).stdout == "ok\n"
        command(world.sandbox, ["ctl", "leases"], {"API_SOCKET": "off", "TOKEN": TOKEN})
        assert TOKEN in impostor.tokens
        impostor.tokens.clear()
        done = command(world.sandbox, [], {"DNS_UPSTREAM": "192.0.2.53", **where})
        assert done.returncode == UNAVAILABLE and done.stderr.count("\n") == 1
        assert str(PORT) in done.stderr and "start the sidecar before the application" in done.stderr
        done = command(world.sandbox, ["--health"], where)
        assert done.returncode == 1 and "api.sock" in done.stderr
        done = command(world.sandbox, ["ctl", "leases"], where)
        assert done.returncode == UNAVAILABLE and "api.sock" in done.stderr
        assert not impostor.tokens
    for family in "inet", "netdev":
        world.sandbox.run("nft", "delete", "table", family, "opensandbox")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", SANDBOX_V4])
def test_port_is_not_shared_with_one_that_was_bound_before(world, start, address):
    """Bound before the start, to a narrower address, and listening later: the sandbox gets nothing."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with world.sandbox.inside(), socket.socket(family) as early:
        early.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        early.bind((address, PORT))
        sidecar = start(healthy=False)
        with contextlib.suppress(AssertionError):
            wait_until(lambda: sidecar.process.poll() is not None or sidecar.healthy(), what="a start or an end")
        if sidecar.process.poll() is None:
            with pytest.raises(OSError):
                early.listen()
        else:
            assert sidecar.wait_end() == UNAVAILABLE


# --- A15: a browser in the sandbox ---

def _put(sidecar, **headers):
    return sidecar.request("POST", "/policy", OPEN, {name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize("headers, status", [
    ({}, 200),
    ({"Origin": f"http://127.0.0.1:{PORT}"}, 200),
    ({"Origin": f"http://127.0.0.1:{PORT}", "Sec_Fetch_Site": "same-origin"}, 200),
    ({"Sec_Fetch_Site": "none"}, 200),
    ({"Origin": "http://evil.test"}, 403), ({"Origin": "null"}, 403), ({"Origin": ""}, 403),
    ({"Origin": "http://127.0.0.1"}, 403), ({"Origin": "http://127.0.0.1:1"}, 403),
    ({"Origin": f"http://127.0.0.1:{PORT}.evil.test"}, 403), ({"Origin": f"http://evil.test#://127.0.0.1:{PORT}"}, 403),
    ({"Sec_Fetch_Site": "cross-site"}, 403), ({"Sec_Fetch_Site": "same-site"}, 403), ({"Sec_Fetch_Site": ""}, 403),
    ({"Host": "evil.test:18080"}, 403), ({"Host": "evil.test"}, 403), ({"Host": "127.0.0.1.evil.test"}, 403),
    ({"Host": "evil.test:18080", "Origin": "http://evil.test:18080"}, 403),
    ({"Host": "localhost:18080", "Origin": "http://localhost:18080"}, 200),
    ({"Host": "LOCALHOST"}, 200), ({"Host": "a.localhost"}, 200), ({"Host": "[::1]:18080"}, 200), ({"Host": "[::1"}, 403),
    ({"Host": "sandbox"}, 200), ({"Host": "egress.ns.svc"}, 200), ({"Host": "egress.ns.svc.cluster.local:1"}, 200),
    ({"Host": "host.docker.internal"}, 200), ({"Host": "10.0.5.2"}, 200), ({"Host": "evilsvc.test"}, 403),
    ({"Host": "sandboxes.example.com"}, 200), ({"Host": "SANDBOXES.example.com.:80"}, 200),
    ({"Host": "x.sandboxes.example.com"}, 403)], ids=str)
def test_foreign_pages_are_refused_without_a_token(start, headers, status):
    sidecar = start(API_HOSTS="other.example.com, sandboxes.example.com")
    reply = _put(sidecar, **headers)
    assert reply.status == status and reply.text.count("\n") == 1, reply.text
    assert sidecar.policy()["defaultAction"] == ("allow" if status == 200 else "deny")
    if status == 403:
        named = "host" if "Host is no" in reply.text else "origin"
        event = sidecar.wait_event("api.denied", reason=named)
        assert (event["level"], event["peer"], event["http.route"]) == ("warn", "127.0.0.1", "/policy")
        assert event["http.request.method"] == "POST"
        assert Scrape(sidecar).value("egress_api_denied_total", reason=named) == 1


def test_reading_is_refused_as_well_and_what_is_for_everybody_is_not(start):
    sidecar = start()
    foreign = {"Host": "evil.test"}
    for path in "/policy", "/policy/effective", "/policy/leases", "/policy/suggested", "/events", "/policy/explain?target=a":
        assert sidecar.request("GET", path, headers=foreign).status == 403, path
    for path in "/", "/healthz", "/metrics":
        assert sidecar.request("GET", path, headers=foreign).status == 200, path


def test_with_a_token_the_token_decides(start):
    """Proxies in front of the API have a Host and an Origin of their own, and no browser adds the token by itself."""
    sidecar = start(TOKEN=TOKEN)
    foreign = {"Host": "proxy.example.com", "Origin": "https://proxy.example.com"}
    assert sidecar.request("GET", "/policy", headers=foreign).status == 401
    assert sidecar.request("GET", "/policy", headers={**foreign, **AUTH}).status == 200


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"""<!doctype html><title>bait</title><form method=post enctype=text/plain target=there
            action=http://127.0.0.1:{PORT}/policy><input name='{{"defaultAction":"allow","egress":[],"x' value='":1}}'>
            </form><iframe name=there></iframe>""".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_cross_site_post_of_a_real_browser(world, start, tmp_path):
    """A page that a browser in the sandbox visits posts a policy to loopback."""
    sidecar = start()
    with world.sandbox.inside():
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 18099), _Page)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        with contextlib.closing(Browser(world.sandbox, tmp_path)) as browser:
            browser.open("http://localhost:18099/")
            send = "fetch(arguments[0], {method: 'POST', mode: 'no-cors', body: '{\"defaultAction\":\"allow\"}'})"
            browser.run(f"{send}.catch(() => 0)", f"http://127.0.0.1:{PORT}/policy")
            event = sidecar.wait_event("api.denied", reason="origin")
            assert event["http.request.method"] == "POST"
            assert sidecar.policy()["defaultAction"] == "deny"
            # The control: the API's own page may.
            browser.open(f"http://127.0.0.1:{PORT}/")
            browser.run(f"{send}.catch(() => 0)", f"http://127.0.0.1:{PORT}/policy")
            wait_until(lambda: sidecar.policy()["defaultAction"] == "allow", what="the policy of the own page")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# --- A16: guessing ---

def _guess(client, seconds):
    """Guesses on one connection as fast as it goes: how many answers of which status."""
    answers = {}
    with client.namespace.inside():
        sock = socket.create_connection((client.host, client.port), timeout=10)
    with sock:
        end = time.monotonic() + seconds
        reader = sock.makefile("rb")
        while time.monotonic() < end:
            batch = 50
            sock.sendall(b"GET /policy HTTP/1.1\r\nHost: localhost\r\nOPENSANDBOX-EGRESS-AUTH: wrong\r\n\r\n" * batch)
            for _ in range(batch):
                status = int(reader.readline().split()[1])
                length = 0
                while (line := reader.readline()) != b"\r\n":
                    name, _, value = line.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                reader.read(length)
                answers[status] = answers.get(status, 0) + 1
    return answers


def test_guesses_are_few(world, start):
    sidecar = start(TOKEN=TOKEN, LOG_LEVEL="warn")
    seconds = 2.5
    answers = _guess(sidecar, seconds)
    assert set(answers) == {401, 429} and answers[429] > 10 * GUESSES, answers
    assert answers[401] <= GUESSES * (seconds * PATIENCE + 1), answers
    scrape = Scrape(sidecar)
    assert scrape.value("egress_api_denied_total", reason="token") == answers[401]
    assert scrape.value("egress_api_denied_total", reason="throttled") == answers[429]
    # Events are few, too, and no denial is lost without a word.
    time_of_more = functools.partial(sidecar.request, "GET", "/policy", headers=WRONG)
    wait_until(lambda: time_of_more() and sum(
        1 + event.get("suppressed", 0) for event in sidecar.events("api.denied")) >= sum(answers.values()),
        what="all of them in events")
    assert len(sidecar.events("api.denied")) < 100
    assert sidecar.events("api.denied")[0]["peer"] == "127.0.0.1"


def test_throttled_is_throttled_whatever_the_token_and_the_address(world, start):
    """Else the right one would be found as fast as ever, and 127.0.0.0/8 has 16 million addresses."""
    sidecar = start(TOKEN=TOKEN)
    sources = [Client(world.sandbox, source=f"127.0.1.{number}") for number in range(1, 13)]
    sources += [Client(world.sandbox, host=SANDBOX_V4), Client(world.sandbox, host="::1"), Client(world.sandbox, host=SANDBOX_V6)]

    def throttled():
        with concurrent.futures.ThreadPoolExecutor(len(sources)) as pool:
            replies = list(pool.map(lambda one: one.request("GET", "/policy", headers=WRONG), sources))
        if [reply.status for reply in replies].count(429) < len(sources) - GUESSES:
            return None  # on either side of a second's end
        reply = sidecar.request("GET", "/policy", headers=AUTH)
        return reply if reply.status == 429 else None

    reply = wait_until(throttled, what="a throttled source")
    assert reply.headers["Retry-After"] == "1" and "wrong tokens" in reply.text
    assert sidecar.request("GET", "/healthz").status == 200
    wait_until(lambda: sidecar.request("GET", "/policy", headers=AUTH).status == 200, what="the end of the second")


def test_guesses_inside_are_no_matter_to_others(world, start):
    """Those outside, and who may open the socket, are heard all the time."""
    sidecar = start(TOKEN=TOKEN, LOG_LEVEL="warn")
    end = threading.Event()

    def guess():
        while not end.is_set():
            _guess(sidecar, 0.1)

    thread = threading.Thread(target=guess)
    thread.start()
    try:
        wait_until(lambda: sidecar.request("GET", "/policy", headers=AUTH).status == 429, what="a throttled inside")
        outside = Client(world.internet, host=SANDBOX_V4)
        local = Client(world.sandbox, path=sidecar.socket)
        for _ in range(50):
            assert outside.request("GET", "/policy", headers=AUTH).status == 200
            assert local.request("GET", "/policy", headers=AUTH).status == 200
        done = command(world.sandbox, ["ctl", "policy", "get"], {"API_SOCKET": sidecar.socket, "TOKEN": TOKEN})
        assert done.returncode == 0
    finally:
        end.set()
        thread.join()


def test_guesses_outside_are_counted_by_address(world, start):
    sidecar = start(TOKEN=TOKEN)
    attacker, other = (Client(world.internet, host=SANDBOX_V4, source=source) for source in (GATEWAY_V4, "192.0.2.77"))
    sidecar.request("GET", "/policy", headers=AUTH)

    def only_one():
        statuses = [attacker.request("GET", "/policy", headers=WRONG).status for _ in range(GUESSES + 2)]
        return 429 in statuses and attacker.request("GET", "/policy", headers=AUTH).status == 429

    def told_apart():
        return only_one() and other.request("GET", "/policy", headers=AUTH).status == 200

    try:
        wait_until(told_apart, timeout=3)
    except AssertionError:
        # One of 64 pairs of addresses shares a count; the key is another at each start.
        sidecar.stop()
        sidecar.restart().wait_healthy()
        wait_until(told_apart)
    event = sidecar.wait_event("api.denied", reason="throttled")
    assert event["peer"] == GATEWAY_V4


def test_request_without_a_token_is_no_guess(start):
    sidecar = start(TOKEN=TOKEN)
    for _ in range(3 * GUESSES):
        assert sidecar.request("GET", "/policy").status == 401
    assert sidecar.request("GET", "/policy", headers=AUTH).status == 200


def test_ctl_says_what_the_sidecar_refuses(world, start):
    sidecar = start()
    _put(sidecar, Origin="http://evil.test")
    sidecar.wait_event("api.denied")
    done = command(world.sandbox, ["ctl", "events", "--once"], {})
    assert "refused" in done.stdout and "127.0.0.1: POST /policy: origin" in done.stdout, done
