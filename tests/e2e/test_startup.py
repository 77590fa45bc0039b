"""Starts that must not succeed: one clear line, the right exit code, and a sandbox that is closed afterwards. And the
command line."""

import json
import pathlib
import re
import socket

import pytest

from tests.support import dnsclient
from tests.support.preload import preloaded
from tests.support.ruleset import at_rest
from tests.support.sidecar import BINARY, PORT, Client, command, environment
from tests.support.tcpclient import connects, refusal_seconds, refused_at_once, udp_refusal_seconds
from tests.support.waiting import wait_until
from tests.support.world import GATEWAY_V4, SANDBOX_V4, SANDBOX_V6, UPSTREAM_V4

CONFIG_ERROR, UNAVAILABLE, NO_PERMISSION = 78, 69, 77
BASE = {"MODE": "dns+nft", "DNS_UPSTREAM": UPSTREAM_V4}


@pytest.fixture(autouse=True)
def no_table(world):
    assert world.sandbox.table() is None
    yield
    world.sandbox.run("nft", "delete", "table", "inet", "opensandbox")


@pytest.fixture
def server(world):
    """A server of the application's in the sandbox, on all addresses."""
    with world.sandbox.inside():
        listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    with listener:
        yield listener.getsockname()[1]


def _is_closed(world, server):
    """Nothing gets out, names included; connections from outside get their replies."""
    for address in "203.0.113.10", "2001:db8:1::10", GATEWAY_V4:
        assert refused_at_once(refusal_seconds, world.sandbox, address)
        assert refused_at_once(udp_refusal_seconds, world.sandbox, address)
    for tcp in False, True:
        with pytest.raises((OSError, dnsclient.Timeout)):
            dnsclient.ask(world.sandbox, "www.allowed.test", tcp=tcp, timeout=0.3)
    for address in SANDBOX_V4, SANDBOX_V6:
        assert connects(world.internet, address, server)
    assert connects(world.sandbox, "127.0.0.1", server)


def _refuses(world, settings, code=CONFIG_ERROR, says=(), through=()):
    done = command(world.sandbox, [], {**BASE, **settings}, through=through, timeout=20)
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == 1 and done.stderr.endswith("\n"), done.stderr
    for word in says:
        assert word in done.stderr, done.stderr
    return done


@pytest.mark.parametrize("number, name", [(2, "export thread"), (3, "HTTP server's thread")])
def test_thread_that_cannot_be_started(world, server, tmp_path, number, name):
    """Of those that nothing works without; the first one looks for open flows, and the loop can do without."""
    through = preloaded("failing", tmp_path, FAILING_THREAD=number)
    _refuses(world, {}, UNAVAILABLE, says=[name], through=through)
    _is_closed(world, server)


def _is_shut(world):
    """Nothing gets out, and nothing of the sandbox's gets through to itself but by loopback."""
    for address in "203.0.113.10", "2001:db8:1::10", GATEWAY_V4:
        assert not connects(world.sandbox, address, timeout=0.3)
    for tcp in False, True:
        with pytest.raises((OSError, dnsclient.Timeout)):
            dnsclient.ask(world.sandbox, "www.allowed.test", tcp=tcp, timeout=0.3)


@pytest.mark.parametrize("mode", ["dns", "dns+nft"])
@pytest.mark.parametrize("lacks, module, config", [
    ("ct", "nft_ct", "CONFIG_NFT_CT"), ("fib", "nft_fib_inet", "CONFIG_NFT_FIB_INET"),
    ("redir", "nft_redir", "CONFIG_NFT_REDIR"), ("nat", "nft_chain_nat", "CONFIG_NFT_NAT")])
def test_module_that_is_missing_is_named_and_the_sandbox_closed(world, server, tmp_path, mode, lacks, module, config):
    through = preloaded("old_kernel", tmp_path, LACKS=lacks)
    done = _refuses(world, {"MODE": mode}, UNAVAILABLE, says=[lacks, module, config], through=through)
    assert "message" not in done.stderr
    if lacks in ("ct", "fib"):
        _is_shut(world)
    else:
        _is_closed(world, server)
    assert connects(world.sandbox, "127.0.0.1", server)


def test_kernel_without_nf_tables(world, server, tmp_path):
    """One line that says so, and one that nothing is closed: there is nothing to do it with."""
    done = command(world.sandbox, [], BASE, through=preloaded("old_kernel", tmp_path, LACKS="nf_tables"), timeout=20)
    assert done.returncode == UNAVAILABLE and "this kernel has no nf_tables" in done.stderr
    assert "could not be closed" in done.stderr and "CONFIG_NF_TABLES" in done.stderr


@pytest.mark.parametrize("name, value", [
    ("MODE", "nft"), ("MODE", "dns+iptables"), ("MODE", "dns nft"), ("MODE", "off"),
    ("RULES", "{"), ("RULES", "allow"), ("RULES", "[]"), ("RULES", '{"egress":[{"action":"allow","target":"a:1"}]}'),
    ("RULES", '{"defaultAction":"open"}'), ("RULES", '{"egress":7}'),
    ("DNS_UPSTREAM", "dns.google"), ("DNS_UPSTREAM", "8.8.8.8:0"), ("DNS_UPSTREAM", "8.8.8.8:65536"),
    ("DNS_UPSTREAM", "8.8.8"), ("DNS_UPSTREAM", "8.8.8.8,nonsense"), ("DNS_UPSTREAM", "[::1"),
    ("DNS_UPSTREAM", "0.0.0.0"), ("DNS_UPSTREAM", "[::]:15353"), ("DNS_UPSTREAM", "224.0.0.1"),
    ("DNS_UPSTREAM", "[::ffff:127.0.0.1]:15353"), ("BLOCK_DOH_443", "enabled"),
    ("HTTP_ADDR", "18080"), ("HTTP_ADDR", ":http"), ("HTTP_ADDR", ":70000"), ("HTTP_ADDR", "localhost:18080"),
    ("NAMESERVER_EXEMPT", "resolver"), ("NAMESERVER_EXEMPT", "10.0.0.0/8"),
    ("DOH_BLOCKLIST", "dns.google"), ("DOH_BLOCKLIST", "1.1.1.1/33"), ("DNS_PORT", "0"), ("DNS_PORT", "dns")])
def test_value_that_cannot_be_parsed(world, server, name, value):
    variable = f"OPENSANDBOX_EGRESS_{name}"
    done = _refuses(world, {name: value}, says=[variable])
    assert value.split(",")[-1] in done.stderr, "the value, or the part of it that is wrong, is named"
    assert "expected" in done.stderr or "not valid JSON" in done.stderr
    _is_closed(world, server)


def test_unwritable_log_path(world, server):
    _refuses(world, {"OPENSANDBOX_LOG_OUTPUT": "stdout,/nonexistent/egress.log"},
             says=["OPENSANDBOX_LOG_OUTPUT", "/nonexistent/egress.log"])
    _is_closed(world, server)


# Starts a program that finds no libcurl.
WITHOUT_LIBCURL = ("unshare", "-m", "--propagation", "private", "sh", "-c",
                   'for one in /usr/lib/*/libcurl.so.4; do mount --bind /dev/null "$one" || exit; done; exec "$@"', "sh")


def test_libcurl_is_needed_only_where_something_is_sent(world, start):
    without = start(through=WITHOUT_LIBCURL)
    maps = pathlib.Path(f"/proc/{without.process.pid}/maps").read_text()
    assert "libmicrohttpd" in maps and "libcurl" not in maps and "libssl" not in maps


@pytest.mark.parametrize("settings", [
    {"DENY_WEBHOOK": "http://203.0.113.10/"},
    {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://203.0.113.10:4318/v1/metrics"},
    {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://203.0.113.10:4318/v1/logs"},
])
def test_endpoint_without_libcurl(world, server, settings):
    done = world.sandbox.run(*WITHOUT_LIBCURL, BINARY, env=environment({**BASE, **settings}), timeout=20)
    assert done.returncode == UNAVAILABLE
    assert done.stderr.count("\n") == 1 and "libcurl.so.4" in done.stderr and "endpoint is set" in done.stderr
    _is_closed(world, server)


def test_transparent_interception_is_not_part_of_it(world, server):
    _refuses(world, {"MITMPROXY_TRANSPARENT": "true"}, says=["OPENSANDBOX_EGRESS_MITMPROXY_TRANSPARENT"])
    _is_closed(world, server)
    _refuses(world, {"MITMPROXY_TRANSPARENT": " YES "}, says=["OPENSANDBOX_EGRESS_MITMPROXY_TRANSPARENT"])


def test_bad_always_file(world, server, tmp_path):
    (tmp_path / "deny.always").write_text("good.test\nhttps://bad/\n")
    _refuses(world, {"RULES_DIR": str(tmp_path)}, says=[f"{tmp_path}/deny.always:2"])
    _is_closed(world, server)


# and what the error says to write
BAD_TARGETS = {"198.18.66.0-198.18.66.255": "198.18.66.0/24", "10.0.0.1-2": "10.0.0.1/32, 10.0.0.2/32",
               "0x7f000001": "127.0.0.1", "example.123": "expected a name", "10.0.0.0/33": "from 0 to 32",
               ".example.com": "*.example.com", "*.*.example.com": "*.example.com", "💩.example": "xn--ls8h.example"}


@pytest.mark.parametrize("target", BAD_TARGETS)
def test_bad_target(world, server, start, tmp_path, target):
    """In RULES, an always file, the policy file and the API alike: a range that is taken for a name denies nothing."""
    policy = {"defaultAction": "allow", "egress": [{"action": "deny", "target": target}]}
    _refuses(world, {"RULES": json.dumps(policy)}, says=["OPENSANDBOX_EGRESS_RULES", BAD_TARGETS[target]])
    _is_closed(world, server)
    (tmp_path / "deny.always").write_text(f"good.test\n{target}\n")
    _refuses(world, {"RULES_DIR": str(tmp_path)}, says=[f"{tmp_path}/deny.always:2", BAD_TARGETS[target]])
    (tmp_path / "deny.always").unlink()
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(policy))
    sidecar = start(POLICY_FILE=str(file))
    sidecar.wait_record(lambda r: r["level"] == "warn" and BAD_TARGETS[target] in r["msg"])
    for method, body in ("POST", policy), ("PATCH", policy["egress"]):
        reply = sidecar.request(method, "/policy", body)
        assert reply.status == 400 and BAD_TARGETS[target] in reply.text
    assert sidecar.policy() == {"egress": [], "defaultAction": "deny"}
    reply = sidecar.request("DELETE", "/policy", [target])
    assert reply.status == 200 and reply.json()["reason"] == "no matching targets found"


def test_bad_rules_that_are_held(world, server, start):
    """A pod that says what is wrong with it, closed, instead of one that never gets ready without a word."""
    bad = {"defaultAction": "allow", "egress": [{"action": "deny", "target": "10.0.0.1-2"}]}
    sidecar = start(healthy=False, RULES=bad, BAD_RULES="hold", **BASE)
    reason = 'egress[0].target: "10.0.0.1-2": a range is no target; write 10.0.0.1/32, 10.0.0.2/32'
    record = sidecar.wait_record(lambda r: r["msg"].startswith("everything is denied until a policy is posted: "))
    assert record["level"] == "error" and record["msg"].endswith(reason)
    reply = sidecar.request("GET", "/healthz")
    assert reply.status == 503 and reply.text.strip().endswith(reason)
    assert sidecar.policy() == {"egress": [], "defaultAction": "deny"}
    assert refused_at_once(refusal_seconds, world.sandbox, "203.0.113.10")
    assert dnsclient.rcode(dnsclient.ask(world.sandbox, "www.allowed.test")) == "NXDOMAIN"
    assert connects(world.internet, SANDBOX_V4, server)
    for refused in bad, {"egress": 7}:
        assert sidecar.request("POST", "/policy", refused).status == 400
    assert not sidecar.healthy()
    done = command(world.sandbox, ["--check"], {**BASE, "RULES": json.dumps(bad), "BAD_RULES": "hold"})
    assert done.returncode == CONFIG_ERROR and reason in done.stderr
    assert sidecar.request("POST", "/policy", {"egress": [{"action": "allow", "target": "203.0.113.10"}]}).status == 200
    sidecar.wait_healthy()
    assert connects(world.sandbox, "203.0.113.10")


def test_upstreams_that_all_lead_back_to_us(world, server):
    """The sidecar's own listener as its upstream: every query would go round for ever."""
    _refuses(world, {"DNS_UPSTREAM": "127.0.0.1:15353"}, says=["127.0.0.1:15353"])
    _is_closed(world, server)


@pytest.mark.parametrize("name, value", [("MAX_RULES", "many"), ("DNS_UPSTREAM_TIMEOUT", "0"),
                                         ("DRAIN_SEC", "-1"), ("MAX_ADDRESSES", "lots")])
def test_tuning_number_that_cannot_be_parsed_is_a_warning(start, name, value):
    sidecar = start(**{name: value})
    sidecar.wait_record(lambda r: r["level"] == "warn" and f"OPENSANDBOX_EGRESS_{name}" in json.dumps(r))


@pytest.mark.parametrize("name, port", [("HTTP_ADDR", PORT), ("DNS_PORT", 15353)])
def test_port_taken(world, server, name, port):
    with world.sandbox.inside():
        holder = socket.create_server(("127.0.0.1", port))
    with holder:
        _refuses(world, {name: f":{port}" if name == "HTTP_ADDR" else str(port)}, UNAVAILABLE, [str(port)])
    _is_closed(world, server)


def test_error_leaves_a_table_that_is_there(world, start):
    sidecar = start(RULES={"egress": [{"action": "allow", "target": "203.0.113.10"}]})
    sidecar.kill()
    before = world.sandbox.table()
    _refuses(world, {"MODE": "off"})
    assert world.sandbox.table() == before
    assert connects(world.sandbox, "203.0.113.10")


def test_good_start_after_a_bad_one_opens_what_policy_allows(world, server, start):
    _refuses(world, {"MODE": "off"})
    _is_closed(world, server)
    start(RULES={"egress": [{"action": "allow", "target": "*.allowed.test"}]})
    assert dnsclient.addresses(dnsclient.ask(world.sandbox, "www.allowed.test")) == ["203.0.113.10"]
    assert connects(world.sandbox, "203.0.113.10")


def test_without_the_capability(world):
    done = world.sandbox.run("setpriv", "--bounding-set=-net_admin", BINARY, env=environment(BASE))
    assert done.returncode == NO_PERMISSION
    assert done.stderr.count("\n") == 1 and "CAP_NET_ADMIN" in done.stderr, done.stderr
    assert world.sandbox.table() is None


# The machine's own namespace is told by a file that only its /proc has. Here that file is mounted into a sandbox's:
# the real thing would be too dangerous a test.
PRETEND_MACHINE = "mount -t tmpfs tmpfs /proc/sys/net/core && touch /proc/sys/net/core/dev_weight && "


def test_the_machines_own_namespace_is_left_alone(world):
    done = world.sandbox.run("unshare", "--mount", "sh", "-c", PRETEND_MACHINE + 'exec "$0"', BINARY,
                             env=environment(BASE))
    assert done.returncode == CONFIG_ERROR
    assert done.stderr.count("\n") == 1 and "OPENSANDBOX_EGRESS_ALLOW_HOST_NETWORK" in done.stderr, done.stderr
    assert world.sandbox.table() is None
    assert connects(world.sandbox, "203.0.113.10")


def test_the_machines_own_namespace_is_not_closed_by_a_bad_value_either(world):
    done = world.sandbox.run("unshare", "--mount", "sh", "-c", PRETEND_MACHINE + 'exec "$0"', BINARY,
                             env=environment({**BASE, "MODE": "off"}))
    assert done.returncode == CONFIG_ERROR
    assert world.sandbox.table() is None


@pytest.mark.parametrize("unshare, settings", [
    (["--mount"], {"ALLOW_HOST_NETWORK": "yes"}),
    (["--mount", "--pid", "--fork", "--mount-proc"], {})], ids=["allowed", "container's pid namespace"])
def test_the_machines_own_namespace_may_be_meant(world, unshare, settings):
    script = PRETEND_MACHINE + f'''
        "$0" & until curl -sf http://127.0.0.1:{PORT}/healthz || ! kill -0 $!; do sleep 0.02; done
        kill $!; wait $!'''
    done = world.sandbox.run("unshare", *unshare, "sh", "-c", script, BINARY, env=environment({**BASE, **settings}))
    assert done.returncode == 0 and "ok" in done.stdout, done.stderr
    warned = [line for line in done.stdout.splitlines() if '"warn"' in line and "ALLOW_HOST_NETWORK" in line]
    assert bool(warned) == ("--pid" in unshare)


def test_help_and_version(world):
    done = command(world.sandbox, ["--help"], {})
    assert done.returncode == 0 and done.stderr == ""
    for word in "--check", "--cleanup", "--version", "OPENSANDBOX_EGRESS_", "RULES", "Exit codes":
        assert word in done.stdout
    done = command(world.sandbox, ["--version"], {})
    assert done.returncode == 0 and re.fullmatch(r"opensandbox-egress \d+\.\d+\.\d+\n", done.stdout)


def test_unknown_argument(world):
    done = command(world.sandbox, ["--chekc"], BASE)
    assert done.returncode not in (0, CONFIG_ERROR) and "--chekc" in done.stderr
    assert world.sandbox.table() is None


def test_check_prints_the_configuration_and_changes_nothing(world, tmp_path):
    policy = tmp_path / "policy.json"
    policy.write_text('{"egress":[{"action":"allow","target":"from.the.file"}]}')
    done = command(world.sandbox, ["--check"], {**BASE, "TOKEN": "s3cret", "POLICY_FILE": str(policy),
                                                "RULES_DIR": str(tmp_path), "MAX_RULES": "77"})
    assert done.returncode == 0, done.stderr
    for word in "OPENSANDBOX_EGRESS_MODE=dns+nft", "from.the.file", "OPENSANDBOX_EGRESS_MAX_RULES=77", UPSTREAM_V4:
        assert word in done.stdout, done.stdout
    assert done.stdout.endswith("\n")
    assert "s3cret" not in done.stdout + done.stderr and "OPENSANDBOX_EGRESS_TOKEN" in done.stdout
    assert world.sandbox.table() is None


def test_check_shows_the_telemetry_environment_without_its_secrets(world):
    done = command(world.sandbox, ["--check"], {
        **BASE, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.test:4318/?key=s3cret",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=s3cret", "OTEL_EXPORTER_OTLP_LOGS_HEADERS": "s3cret",
        "OTEL_BLRP_MAX_QUEUE_SIZE": "many"})
    assert done.returncode == 0 and "s3cret" not in done.stdout + done.stderr
    lines = done.stdout.splitlines()
    for line in ("OTEL_EXPORTER_OTLP_ENDPOINT=http://collector.test:4318/", "OTEL_EXPORTER_OTLP_HEADERS=(hidden)",
                 "OTEL_BLRP_MAX_QUEUE_SIZE=2048", "OTEL_METRIC_EXPORT_INTERVAL=60000", "OTLP metrics: on",
                 'warning: OTEL_BLRP_MAX_QUEUE_SIZE="many": expected a whole number from 1 to 65536; not used'):
        assert line in lines, done.stdout
    assert any(line.startswith("warning: OTEL_EXPORTER_OTLP_LOGS_HEADERS: 1 of") for line in lines)


def test_a_start_only_warns_of_telemetry_values(start):
    sidecar = start(OTEL_EXPORTER_OTLP_ENDPOINT="collector.test", OTEL_EXPORTER_OTLP_PROTOCOL="thrift")
    sidecar.wait_record(lambda r: r["level"] == "warn" and r["msg"].startswith("OTEL_EXPORTER_OTLP_ENDPOINT: expected"))
    sidecar.wait_record(lambda r: r["level"] == "warn" and r["msg"].startswith('OTEL_EXPORTER_OTLP_PROTOCOL="thrift"'))


@pytest.mark.parametrize("settings, says", [({"MODE": "off"}, "OPENSANDBOX_EGRESS_MODE"), ({"RULES": "{"}, "RULES"),
                                            ({"DNS_UPSTREAM": "x"}, "OPENSANDBOX_EGRESS_DNS_UPSTREAM")])
def test_check_of_a_bad_configuration(world, settings, says):
    done = command(world.sandbox, ["--check"], {**BASE, **settings})
    assert done.returncode == CONFIG_ERROR and says in done.stderr
    assert done.stderr.count("\n") == 1
    assert world.sandbox.table() is None, "--check changes nothing"


def test_check_beside_a_running_sidecar(world, start):
    sidecar = start()

    def changes_nothing():  # what earlier tests left open is still being ended
        before = at_rest(world.sandbox)
        assert command(world.sandbox, ["--check"], BASE).returncode == 0
        return at_rest(world.sandbox) == before

    wait_until(changes_nothing, what="a table that stays as it is")
    assert sidecar.healthy()


@pytest.mark.parametrize("mode", ["dns+nft", "NFT+DNS", " nft + dns "])
def test_mode_in_any_order_and_case(world, start, mode):
    sidecar = start(MODE=mode)
    assert sidecar.request("GET", "/policy").json()["enforcementMode"] == "dns+nft"
    refusal_seconds(world.sandbox, "203.0.113.10")


@pytest.mark.parametrize("address, reachable", [("127.0.0.1:18085", "127.0.0.1"), ("[::1]:18085", "::1"),
                                                (":18085", SANDBOX_V6)])
def test_listen_address(world, start, address, reachable):
    start(HTTP_ADDR=address, healthy=False)
    client = Client(world.sandbox, reachable, 18085)
    wait_until(client.healthy, what="/healthz")
    if reachable != SANDBOX_V6:
        assert not connects(world.sandbox, SANDBOX_V4, 18085)


def test_kernel_without_ipv6(world, start):
    """The sandbox of a machine that has IPv6 switched off."""
    with world.sandbox.sysctl("net/ipv6/conf/lo/disable_ipv6", 1):
        start(RULES={"egress": [{"action": "allow", "target": "*.allowed.test"}]})
        assert dnsclient.addresses(dnsclient.ask(world.sandbox, "www.allowed.test")) == ["203.0.113.10"]
