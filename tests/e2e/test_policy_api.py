"""The HTTP API: what each request does to the policy, and what it answers."""

import concurrent.futures
import json
import socket
import subprocess

import pytest

from tests.support import dnsclient, ruleset
from tests.support.sidecar import PORT
from tests.support.tcpclient import connects, connection, refusal_seconds
from tests.support.waiting import wait_until

LIMIT = 1 << 20
DENY_ALL = {"egress": [], "defaultAction": "deny"}
OK = {"status": "ok", "mode": "enforcing", "enforcementMode": "dns+nft"}
RESET = {"status": "ok", "mode": "deny_all", "reason": "policy reset to default deny-all"}


def rules(text):
    """rules("+a -b") allows a and denies b."""
    return [{"action": "allow" if word[0] == "+" else "deny", "target": word[1:]} for word in text.split()]


def spelled(policy):
    """The rules of a policy in the notation of rules()."""
    return " ".join(("+" if rule["action"] == "allow" else "-") + rule["target"] for rule in policy["egress"])


@pytest.fixture
def sidecar(start):
    return start(RULES={"egress": rules("+www.allowed.test -10.0.0.0/8")})


def _is_error(reply, status, text):
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert reply.status == status and reply.text.startswith(text), reply.text
    assert reply.text.endswith("\n") and reply.text.count("\n") == 1


def test_get(sidecar):
    reply = sidecar.request("GET", "/policy")
    assert reply.status == 200 and reply.headers["Content-Type"] == "application/json"
    assert reply.text.endswith("\n")
    assert reply.json() == {**OK, "policy": {"egress": rules("+www.allowed.test -10.0.0.0/8"),
                                             "defaultAction": "deny"}}


@pytest.mark.parametrize("given, mode", [
    (None, "deny_all"), ("", "deny_all"), ("null", "deny_all"), ("{}", "deny_all"),
    ('{"defaultAction":"allow"}', "allow_all"), ('{"defaultAction":" ALLOW ","egress":[]}', "allow_all"),
    ('{"defaultAction":"","egress":[{"action":" Allow","target":" A.test "}]}', "enforcing")])
def test_initial_policy(start, given, mode):
    sidecar = start(RULES=given)
    reply = sidecar.request("GET", "/policy").json()
    assert reply["mode"] == mode
    if mode == "enforcing":
        assert reply["policy"]["egress"] == [{"action": "allow", "target": "A.test"}]


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_replace(world, sidecar, method):
    reply = sidecar.request(method, "/policy", {"defaultAction": "deny", "egress": rules("+WWW.Other.TEST")})
    assert (reply.status, reply.json()) == (200, OK)
    assert spelled(sidecar.policy()) == "+WWW.Other.TEST"
    assert dnsclient.rcode(dnsclient.ask(world.sandbox, "www.other.test")) == "NOERROR"
    assert dnsclient.rcode(dnsclient.ask(world.sandbox, "www.allowed.test")) == "NXDOMAIN"


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("body", ["", " \r\n\t "])
def test_blank_body_resets(world, sidecar, method, body):
    dnsclient.ask(world.sandbox, "www.allowed.test")
    reply = sidecar.request(method, "/policy", body)
    assert (reply.status, reply.json()) == (200, RESET)
    assert sidecar.policy() == DENY_ALL
    refusal_seconds(world.sandbox, "203.0.113.10")


def test_rules_keep_order_duplicates_and_spelling(sidecar):
    order = "+b.test -a.test +b.test +2001:DB8::1 -10.0.0.7/8 +*.Ünicode.test"
    assert sidecar.request("POST", "/policy", {"egress": rules(order)}).status == 200
    assert spelled(sidecar.policy()) == order


@pytest.mark.parametrize("before, patch, after", [
    ("+a.test +b.test", "-c.test", "-c.test +a.test +b.test"),
    ("+a.test +b.test", "-B.Test", "-B.Test +a.test"),
    ("+a.test", "+x.test -X.test", "+x.test +a.test"),
    ("+a.test -a.test", "+z.test", "+z.test +a.test"),
    ("+10.0.0.1/32 +a.test", "-10.0.0.1 -A.test.", "-10.0.0.1 -A.test."),
    ("+10.1.2.3/8", "-10.0.0.0/8", "-10.0.0.0/8"),
    ("+2001:db8::1", "-2001:DB8:0::1/128", "-2001:DB8:0::1/128"),
    ("+*.a.test", "-a.test", "-a.test +*.a.test"),
    ("+*.A.test", "-*.a.TEST", "-*.a.TEST"),
    ("+a.test", "-*", "-* +a.test")])
def test_patch(sidecar, before, patch, after):
    sidecar.request("POST", "/policy", {"egress": rules(before)})
    reply = sidecar.request("PATCH", "/policy", rules(patch))
    assert (reply.status, reply.json()) == (200, OK)
    assert spelled(sidecar.policy()) == after


def test_patch_with_mixed_case_decides_names(world, sidecar):
    sidecar.request("PATCH", "/policy", rules("-WWW.Allowed.Test"))
    assert dnsclient.rcode(dnsclient.ask(world.sandbox, "www.allowed.test")) == "NXDOMAIN"


@pytest.mark.parametrize("before, targets, after", [
    ("+a.test +b.test", ["A.TEST"], "+b.test"),
    ("+a.test -a.test +b.test", ["a.test."], "+b.test"),
    ("+10.0.0.1 +a.test", ["10.0.0.1/32"], "+a.test"),
    ("+*.a.test +a.test", ["*.A.test"], "+a.test"),
    ("+a.test +b.test", ["b.test", "nothing.test"], "+a.test")])
def test_delete(sidecar, before, targets, after):
    sidecar.request("POST", "/policy", {"egress": rules(before)})
    reply = sidecar.request("DELETE", "/policy", targets)
    assert (reply.status, reply.json()) == (200, OK)
    assert spelled(sidecar.policy()) == after


def test_delete_of_the_last_rule_denies_all(sidecar):
    assert sidecar.request("DELETE", "/policy", ["www.allowed.test", "10.0.0.0/8"]).json()["mode"] == "deny_all"
    assert sidecar.policy() == DENY_ALL


def test_delete_of_nothing_changes_nothing(sidecar):
    before = sidecar.request("GET", "/policy")
    reply = sidecar.request("DELETE", "/policy", ["nothing.test"])
    assert (reply.status, reply.json()) == (200, {**OK, "reason": "no matching targets found"})
    assert sidecar.request("GET", "/policy").headers["ETag"] == before.headers["ETag"]


def test_patch_and_delete_keep_the_default(sidecar):
    sidecar.request("POST", "/policy", {"defaultAction": "allow", "egress": rules("-a.test -b.test")})
    sidecar.request("PATCH", "/policy", rules("-c.test"))
    sidecar.request("DELETE", "/policy", ["a.test"])
    assert sidecar.policy()["defaultAction"] == "allow"


def _with_target(target):
    return '{"egress":[{"action":"allow","target":' + target + "}]}"


BAD_POLICIES = [
    "{", "[]", "7", '"deny"', "true", "{}x", "{} {}", '{"egress":', "\ufeff", "nul",
    '{"egress":{}}', '{"egress":"a.test"}', '{"egress":7}', '{"egress":true}',
    '{"defaultAction":7}', '{"defaultAction":[]}', '{"defaultAction":{}}', '{"defaultAction":true}',
    '{"defaultAction":"block"}', '{"defaultAction":"allow","defaultAction":"deny"}', '{"mode":"dns"}',
    '{"Egress":[]}', '{"egress":[],"egress":[]}', '{"egress":[7]}', '{"egress":["a.test"]}', '{"egress":[null]}',
    '{"egress":[[]]}', '{"egress":[{}]}', '{"egress":[{"action":"allow"}]}',
    '{"egress":[{"action":7,"target":"a.test"}]}', '{"egress":[{"action":[],"target":"a.test"}]}',
    '{"egress":[{"action":{},"target":"a.test"}]}', '{"egress":[{"action":true,"target":"a.test"}]}',
    '{"egress":[{"action":"permit","target":"a.test"}]}',
    '{"egress":[{"action":"allow","target":"a.test","port":443}]}',
    '{"egress":[{"action":"allow","target":"a.test",}]}',
    _with_target("7"), _with_target("null"), _with_target('["a.test"]'), _with_target('{"a":"a.test"}'),
    _with_target('""'), _with_target('" "'), _with_target(r'"a.test\u0000.evil.test"'),
    _with_target('"https://a.test/"'), _with_target('"a.test:443"'), _with_target('"10.0.0.1:443"'),
    _with_target('"a.*.test"'), _with_target('"*a.test"'), _with_target('"a b.test"'), _with_target('"a..test"'),
    _with_target('"10.0.0.0/33"'), _with_target('"10.0.0.0/-1"'), _with_target('"2001:db8::/129"'),
    _with_target('"' + "x" * 64 + '.test"'), _with_target('"' + "x." * 130 + 'test"'),
    "[" * 5000, '{"egress":' + "[" * 2000 + "]" * 2000 + "}"]


def test_malformed_policies_are_refused_and_change_nothing(sidecar):
    before = sidecar.request("GET", "/policy").text
    for body in BAD_POLICIES:
        for method in "POST", "PUT":
            _is_error(sidecar.request(method, "/policy", body.encode()), 400, "invalid policy: ")
    _is_error(sidecar.request("POST", "/policy", b'{"egress":[{"target":"\xff.test"}]}'), 400, "invalid policy: ")
    assert sidecar.request("GET", "/policy").text == before
    sidecar.wait_event("update_failed", level="warn")


@pytest.mark.parametrize("body, says", [
    ('{"egress":[{"action":"allow","target":"a.test"},{"action":"allow","target":7}]}', ["egress[1]", "target"]),
    ('{"egress":[{"action":"allow","target":"a.test","port":443}]}', ["port"]),
    ('{"defaultAction":"block"}', ["block"]),
    ('{"egress":[{"action":"allow","target":"a.test:443"}]}', ["a.test:443"])])
def test_refusal_names_what_is_wrong(sidecar, body, says):
    text = sidecar.request("POST", "/policy", body).text
    assert all(word in text for word in says), text


@pytest.mark.parametrize("method, body, answer", [
    ("PATCH", "", "empty body"), ("PATCH", "  ", "empty body"),
    ("PATCH", "[]", "invalid patch rules: empty array"),
    ("PATCH", "{}", "invalid patch rules: "), ("PATCH", "[7]", "invalid patch rules: "),
    ("PATCH", '["a.test"]', "invalid patch rules: "), ("PATCH", '[{"action":"allow"}]', "invalid "),
    ("PATCH", '[{"action":"allow","target":"a.test","port":1}]', "invalid patch rules: "),
    ("PATCH", '[{"action":"permit","target":"a.test"}]', "invalid merged policy: "),
    ("PATCH", '[{"action":"allow","target":"a.test"}', "invalid patch rules: "),
    ("DELETE", "", "empty body"), ("DELETE", "[]", "invalid delete targets: empty array"),
    ("DELETE", '"a.test"', "invalid delete targets: "), ("DELETE", "[7]", "invalid delete targets: "),
    ("DELETE", "[null]", "invalid delete targets: "), ("DELETE", '[{"target":"a.test"}]', "invalid delete targets: "),
    ("DELETE", '["a.test"', "invalid delete targets: ")])
def test_malformed_patches_and_deletes(sidecar, method, body, answer):
    before = sidecar.request("GET", "/policy").text
    _is_error(sidecar.request(method, "/policy", body), 400, answer)
    assert sidecar.request("GET", "/policy").text == before


def _body_of(size):
    policy = json.dumps({"egress": rules("+big.test")})
    return policy + " " * (size - len(policy))


def test_body_of_1_mib_is_taken_and_one_octet_more_is_not(sidecar):
    assert sidecar.request("POST", "/policy", _body_of(LIMIT)).status == 200
    assert spelled(sidecar.policy()) == "+big.test"
    assert sidecar.request("POST", "/policy", "").status == 200
    assert sidecar.request("POST", "/policy", _body_of(LIMIT + 1)).status == 413
    assert sidecar.policy() == DENY_ALL


def test_chunked_body_of_1_mib_and_one_octet_is_refused(sidecar):
    def chunks(text):
        for i in range(0, len(text), 65536):
            yield text[i:i + 65536].encode()

    assert sidecar.request("POST", "/policy", chunks(_body_of(LIMIT))).status == 200
    assert sidecar.request("POST", "/policy", chunks(_body_of(LIMIT + 1))).status == 413
    assert spelled(sidecar.policy()) == "+big.test"


def test_too_many_rules(start):
    sidecar = start(MAX_RULES="3", RULES={"egress": rules("+a.test +b.test")})
    reply = sidecar.request("POST", "/policy", {"egress": rules("+a.test +b.test +c.test +d.test")})
    _is_error(reply, 413, "egress rule total count 4 exceeds limit 3")
    reply = sidecar.request("PATCH", "/policy", rules("+c.test +d.test"))
    _is_error(reply, 413, "egress rule total count 4 exceeds limit 3")
    assert spelled(sidecar.policy()) == "+a.test +b.test"
    assert sidecar.request("PATCH", "/policy", rules("+c.test")).status == 200


def test_4096_rules_fit_and_work(world, sidecar):
    many = [{"action": "allow", "target": f"n{i}.test"} for i in range(3000)]
    many += [{"action": "allow", "target": f"203.0.{i // 256}.{i % 256}"} for i in range(1096)]
    assert sidecar.request("POST", "/policy", {"egress": many}).status == 200
    refusal_seconds(world.sandbox, "203.0.113.10")
    many[-1] = {"action": "allow", "target": "203.0.113.10"}
    assert sidecar.request("POST", "/policy", {"egress": many}).status == 200
    assert connects(world.sandbox, "203.0.113.10")
    assert sidecar.request("POST", "/policy", {"egress": many + rules("+one.more.test")}).status == 413


def test_stale_if_match_is_refused(sidecar):
    tag = sidecar.request("GET", "/policy").headers["ETag"]
    assert tag.startswith('"') and tag.endswith('"')
    assert sidecar.request("PATCH", "/policy", rules("+b.test"), {"If-Match": tag}).status == 200
    for method, body in ("POST", ""), ("PUT", ""), ("PATCH", rules("+c.test")), ("DELETE", ["b.test"]):
        assert sidecar.request(method, "/policy", body, {"If-Match": tag}).status == 412
    assert spelled(sidecar.policy()) == "+b.test +www.allowed.test -10.0.0.0/8"
    fresh = sidecar.request("GET", "/policy").headers["ETag"]
    assert fresh != tag
    assert sidecar.request("DELETE", "/policy", ["b.test"], {"If-Match": fresh}).status == 200
    assert sidecar.request("GET", "/policy").headers["ETag"] == tag, "the same policy has the same tag"
    assert sidecar.request("POST", "/policy", "", {"If-Match": "*"}).status == 200


def test_other_methods_and_paths(sidecar):
    reply = sidecar.request("OPTIONS", "/policy")
    assert (reply.status, reply.headers["Allow"]) == (405, "GET, POST, PUT, PATCH, DELETE")
    for path in "//", "/x", "/policies", "/events/x", "/policy/x", "/healthz/x", "/credential", "/../policy":
        assert sidecar.request("GET", path).status == 404, path


def test_healthz(sidecar):
    reply = sidecar.request("GET", "/healthz")
    assert (reply.status, reply.text.strip()) == (200, "ok")
    reply = sidecar.request("HEAD", "/healthz")
    assert (reply.status, reply.text) == (200, "")


@pytest.mark.parametrize("harm", ["delete table inet opensandbox", "flush ruleset"])
def test_table_that_is_taken_away_comes_back(world, sidecar, harm):
    before = ruleset.settled(world.sandbox)
    world.sandbox.nft(harm)
    sidecar.wait_record(lambda record: record["level"] == "error" and "changed from outside" in record["msg"])
    assert ruleset.at_rest(world.sandbox) == before
    sidecar.wait_healthy()


def test_healthz_says_no_while_the_table_cannot_be_put_in_place(world, sidecar):
    """A table that another program owns is not ours to delete."""
    with world.sandbox.popen("nft", "-i", stdin=subprocess.PIPE, text=True) as owner:
        owner.stdin.write("delete table inet opensandbox\nadd table inet opensandbox { flags owner; }\n")
        owner.stdin.flush()
        sidecar.wait_unhealthy()
        reply = sidecar.request("GET", "/healthz")
        assert reply.status == 503 and reply.text.count("\n") <= 1 and "opensandbox" in reply.text
        owner.stdin.close()
        owner.wait(10)
    sidecar.wait_healthy()
    assert "chain egress" in world.sandbox.table()


@pytest.mark.parametrize("path", ["/credential-vault", "/credential-vault/x"])
def test_credential_vault_is_off(sidecar, path):
    assert sidecar.request("GET", path).status == 404
    for method in "POST", "PATCH", "DELETE":
        _is_error(sidecar.request(method, path, "{}"), 412, "credential proxy is not enabled")
    assert sidecar.request("GET", "/credential-vault/_active").status == 403


def test_token(start):
    sidecar = start(TOKEN="s3cret", RULES={"egress": rules("+a.test")})
    for headers in {}, {"OPENSANDBOX-EGRESS-AUTH": "wrong"}, {"OPENSANDBOX-EGRESS-AUTH": "s3cre"}, \
            {"OPENSANDBOX-EGRESS-AUTH": "s3crets"}, {"OPENSANDBOX-EGRESS-AUTH": ""}, {"Authorization": "Bearer s3cret"}:
        for method, path in ("GET", "/policy"), ("POST", "/policy"), ("PUT", "/policy"), ("PATCH", "/policy"), \
                ("DELETE", "/policy"), ("GET", "/credential-vault"), ("POST", "/credential-vault"):
            def answer(method=method, path=path, headers=headers):
                reply = sidecar.request(method, path, headers=headers)
                return None if reply.status == 429 else reply  # ten wrong ones within a second (test_api.py)
            _is_error(wait_until(answer), 401, "unauthorized")
    assert sidecar.request("GET", "/healthz").status == 200
    wait_until(lambda: sidecar.request("GET", "/policy", headers={"OPENSANDBOX-EGRESS-AUTH": "s3cret"}).status != 429)
    right = {"opensandbox-egress-auth": "s3cret"}
    assert sidecar.request("GET", "/policy", headers=right).json()["policy"]["egress"] == rules("+a.test")
    assert sidecar.request("POST", "/policy", "", right).status == 200


def test_without_a_token_the_log_warns_once(sidecar):
    def warns(record):
        return record["level"] == "warn" and "OPENSANDBOX_EGRESS_TOKEN" in record["msg"]

    sidecar.wait_record(warns)
    sidecar.request("POST", "/policy", "")
    sidecar.stop()
    assert sum(map(warns, sidecar.records)) == 1


def test_api_answers_on_both_families(world, sidecar):
    for host in "127.0.0.1", "::1":
        sidecar.host = host
        assert sidecar.request("GET", "/healthz").status == 200


@pytest.mark.parametrize("head", [
    "POST /policy HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
    "POST /policy HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "POST /policy HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "\0\0\0\r\n\r\n", "GET\r\n\r\n"])
def test_ambiguous_requests_are_refused(world, sidecar, head):
    before = sidecar.policy()
    with connection(world.sandbox, "127.0.0.1", PORT) as sock:
        sock.sendall(head.encode())
        try:
            answer = sock.recv(4096)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer
        except (ConnectionResetError, socket.timeout):
            pass
    assert sidecar.policy() == before


def test_many_writers_lose_nothing(sidecar):
    sidecar.request("POST", "/policy", "")
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        replies = pool.map(lambda i: sidecar.request("PATCH", "/policy", rules(f"+n{i}.test")).status, range(60))
        assert set(replies) == {200}
    assert sorted(spelled(sidecar.policy()).split()) == sorted(f"+n{i}.test" for i in range(60))
