"""api/openapi.yaml: every documented answer is real, and every real one is documented."""

import json
import re
import subprocess

import jsonschema
import pytest
import yaml

from tests.support import dnsclient
from tests.support.sidecar import ROOT
from tests.support.waiting import wait_until

DOCUMENT = yaml.safe_load((ROOT / "api/openapi.yaml").read_text())
METHODS = ("get", "head", "post", "put", "patch", "delete")
RULES = {"egress": [{"action": "allow", "target": "*.allowed.test"}, {"action": "deny", "target": "10.0.0.0/8"}]}
TOKEN = {"OPENSANDBOX-EGRESS-AUTH": "secret"}
BIG = "[" + " " * (1 << 20) + "]"

# What cannot be brought about from outside on purpose, and where it is proven.
ELSEWHERE = {
    ("get", "/", "500"): "out of memory alone",
    ("head", "/", "500"): "out of memory alone",
    ("get", "/policy", "500"): "out of memory alone",
    ("get", "/policy/explain", "500"): "out of memory alone",
    ("get", "/policy/effective", "500"): "out of memory alone",
    ("get", "/policy/suggested", "500"): "out of memory alone",
    ("get", "/policy/leases", "500"): "out of memory alone",
    **{(method, "/livez", "503"): "test_api.c, test_supervise.py: the loop hangs" for method in ("get", "head")},
    **{(method, path, "403"): "test_api_tls.py: no certificate of a known client"
       for method in ("get", "head") for path in ("/", "/metrics")},
    ("get", "/events", "503"): "test_api_events.c: answers that nobody takes",
    ("get", "/policy/leases", "503"): "test_api_waiting.c: the sidecar is stopping",
    ("get", "/policy/suggested", "503"): "test_api_waiting.c: the sidecar is stopping",
    ("get", "/policy/explain", "503"): "test_api_waiting.c: the sidecar is stopping",
    ("get", "/policy/effective", "503"): "test_api_waiting.c: the sidecar is stopping",
    **{(method, "/policy", "503"): "test_api_waiting.c: too many changes at once, or stopping"
       for method in ("post", "put", "patch", "delete")},
}


def _resolve(node):
    while "$ref" in node:
        reference, node = node["$ref"], DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]
    return node


def _documented():
    return {(method, path, status): _resolve(response)
            for path, item in DOCUMENT["paths"].items() for method in METHODS if method in item
            for status, response in item[method]["responses"].items()}


def _template(path):
    path = path.partition("?")[0]
    if path.startswith("/credential-vault/") and path != "/credential-vault/_active":
        return "/credential-vault/{path}"
    return path


class Checker:
    """Sends requests and holds the answers against the document."""

    def __init__(self, sidecar):
        self.sidecar, self.seen, self.documented = sidecar, set(), _documented()

    def __call__(self, method, path, body=None, status=200, headers=TOKEN):
        reply = self.sidecar.request(method.upper(), path, body, headers)
        key = (method, _template(path), str(status))
        assert reply.status == status, (key, reply.status, reply.text)
        assert key in self.documented, f"{key} is not documented"
        self.seen.add(key)
        self._compare(reply, self.documented[key], method)
        return reply

    def _compare(self, reply, response, method):
        for name, header in response.get("headers", {}).items():
            assert not header.get("required") or name in reply.headers, name
        content = response.get("content")
        if method == "head" or not content:
            assert reply.text == ""
            return
        kind = reply.headers["Content-Type"]
        assert kind in content, kind
        value = reply.json() if kind == "application/json" else reply.text
        schema = {**content[kind]["schema"], "components": DOCUMENT["components"]}
        jsonschema.Draft202012Validator(schema).validate(value)


def _ask_everything(checker, world):
    checker("get", "/", headers={})
    checker("head", "/", headers={})
    checker("get", "/healthz", headers={})
    checker("head", "/healthz", headers={})
    checker("get", "/livez", headers={})
    checker("head", "/livez", headers={})
    checker("get", "/metrics", headers={})
    checker("get", "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    checker("head", "/metrics", headers={})
    tag = checker("get", "/policy").headers["ETag"]
    checker("get", "/policy", status=304, headers={**TOKEN, "If-None-Match": tag})
    dnsclient.ask(world.sandbox, "www.allowed.test")
    for target in "www.allowed.test", "www.other.test", "203.0.113.10", "10.1.2.3", "203.0.113.66":
        checker("get", f"/policy/explain?target={target}")
    for query in "", "?target=", "?target=10.0.0.0/8":
        checker("get", f"/policy/explain{query}", status=400)
    checker("get", "/policy/effective")
    checker("get", "/policy/suggested")
    assert checker("get", "/policy/leases").json()["leases"]
    checker("get", "/events")
    checker("get", "/events?after=0")
    checker("get", "/events?after=x", status=400)
    checker("delete", "/policy?dryRun=true", ["*.allowed.test"])
    bodies = {"post": RULES, "put": RULES, "patch": RULES["egress"][:1], "delete": ["*.allowed.test", "nobody.test"]}
    for method, body in bodies.items():
        checker(method, "/policy?dryRun=yes", body)
        checker(method, "/policy", body, 412, {**TOKEN, "If-Match": '"another"'})
        checker(method, "/policy", "{", 400)
        checker(method, "/policy?dryRun=perhaps", body, 400)
        checker(method, "/policy", BIG, 413)
        checker(method, "/policy", body, 401, {})
        checker(method, "/policy", body)
    checker("post", "/policy", "")
    checker("put", "/policy", " \n")
    checker("delete", "/policy", ["nobody.test"])
    checker("patch", "/policy", [{"target": f"n{i}.test"} for i in range(9)], 413)
    for path in "/policy", "/policy/explain?target=a.test", "/policy/effective", "/policy/suggested", \
            "/policy/leases", "/events":
        checker("get", path, status=401, headers={})
    for method in "get", "post", "patch", "delete":
        for path in "/credential-vault", "/credential-vault/some/secret":
            checker(method, path, status=404 if method == "get" else 412)
            checker(method, path, status=401, headers={})
        checker(method, "/credential-vault/_active", status=403)
        checker(method, "/credential-vault/_active", status=401, headers={})


def _guarded():
    return sorted((method, path) for method, path, status in _documented() if status == "401")


def _guess(checker):
    """Every guarded request while its source is throttled: at most a second from the tenth wrong token on."""
    wrong = {"OPENSANDBOX-EGRESS-AUTH": "wrong"}
    for method, path in _guarded():
        def throttled(method=method, path=path):
            while checker.sidecar.request("GET", "/policy", headers=wrong).status != 429:
                pass
            if checker.sidecar.request(method.upper(), path.replace("{path}", "x"), headers=TOKEN).status == 429:
                return checker(method, path.replace("{path}", "x"), status=429)
            return None  # the second was over just now
        wait_until(throttled, what=f"429 to {method} {path}")


def _ask_from_elsewhere(checker):
    """Without a token, from the page of somebody else."""
    for method, path in _guarded():
        checker(method, path.replace("{path}", "x"), status=403, headers={"Origin": "http://elsewhere.test"})


def _fail(checker, world, folder):
    """What goes wrong on our side: the folder of the policy file is gone, the table belongs to somebody else."""
    folder.rename(folder.with_name("gone"))
    for method, body in ("post", RULES), ("put", {}), ("patch", RULES["egress"]), ("delete", ["10.0.0.0/8"]):
        if method == "delete":
            folder.with_name("gone").rename(folder)
            checker("post", "/policy", RULES)
            folder.rename(folder.with_name("gone"))
        checker(method, "/policy", body, 500)
    with world.sandbox.popen("nft", "-i", stdin=subprocess.PIPE, text=True) as owner:
        # One line is one transaction: the sidecar puts no table of its own in between.
        owner.stdin.write("delete table inet opensandbox; add table inet opensandbox { flags owner; }\n")
        owner.stdin.flush()
        checker.sidecar.wait_unhealthy()
        checker("get", "/healthz", status=503, headers={})
        checker("head", "/healthz", status=503, headers={})
        owner.stdin.close()
        owner.wait(10)
    checker.sidecar.wait_healthy()


def test_every_answer_is_documented_and_every_documented_one_is_real(world, start, tmp_path):
    folder = tmp_path / "policies"
    folder.mkdir()
    checker = Checker(start(RULES=RULES, TOKEN="secret", MAX_RULES="8", POLICY_FILE=str(folder / "policy.json")))
    _ask_everything(checker, world)
    _fail(checker, world, folder)
    _guess(checker)
    checker.sidecar.stop()
    checker.sidecar = start()
    _ask_from_elsewhere(checker)
    never_seen = set(checker.documented) - checker.seen
    assert never_seen == set(ELSEWHERE), never_seen ^ set(ELSEWHERE)


@pytest.mark.parametrize("method", [*METHODS, "options"])
def test_other_methods_and_paths(start, method):
    sidecar = start()
    shared = DOCUMENT["components"]["responses"]
    for path, item in DOCUMENT["paths"].items():
        if method in item or path.endswith("_active"):
            continue
        reply = sidecar.request(method.upper(), path.replace("{path}", "x"))
        assert reply.status == 405 and "Allow" in shared["NotAllowed"]["headers"], path
        documented = {one.upper() for one in METHODS if one in item}
        assert set(reply.headers["Allow"].split(", ")) == documented, path
    assert sidecar.request(method.upper(), "/nobody").status == 404


def test_paths_and_guards_are_those_of_the_router():
    """By the router's source: a route that is added without its documentation fails here."""
    table = (ROOT / "src/api/router.c").read_text()
    routes = {path: ".guarded = true" in rest for path, rest in
              re.findall(r'\{\.path = "([^"]+)",(.*?)\.methods', table, re.DOTALL)}
    assert routes.keys() == {path.removesuffix("/{path}") for path in DOCUMENT["paths"]}
    for path, item in DOCUMENT["paths"].items():
        for method in METHODS:
            if method in item:
                assert (item[method].get("security") == []) != routes[path.removesuffix("/{path}")], path


def test_statuses_are_those_of_the_sources():
    codes = {"OK": 200, "NOT_MODIFIED": 304, "BAD_REQUEST": 400, "UNAUTHORIZED": 401, "FORBIDDEN": 403, "TOO_MANY_REQUESTS": 429,
             "NOT_FOUND": 404, "METHOD_NOT_ALLOWED": 405, "PRECONDITION_FAILED": 412, "CONTENT_TOO_LARGE": 413,
             "INTERNAL_SERVER_ERROR": 500, "SERVICE_UNAVAILABLE": 503}
    used = {name for source in (ROOT / "src/api").glob("*.c")
            for name in re.findall(r"\bMHD_HTTP_(?!HEADER|METHOD_[GHPDOCT])(\w+)", source.read_text())
            if not name.startswith("VERSION")}
    assert used == set(codes), used ^ set(codes)
    documented = {int(status) for _, _, status in _documented()} | {404, 405}  # NotFound, NotAllowed: on all paths
    assert documented == set(codes.values())


def test_document_is_well_formed():
    assert DOCUMENT["openapi"] == "3.1.0"
    version = re.search(r"^  version: '(.*)',", (ROOT / "meson.build").read_text(), re.MULTILINE).group(1)
    assert DOCUMENT["info"]["version"] == version
    text = json.dumps(DOCUMENT)
    for reference in set(re.findall(r'"\$ref": "([^"]+)"', text)):
        assert _resolve({"$ref": reference})
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    for kind in "responses", "schemas":
        unused = {name for name in DOCUMENT["components"][kind] if f'"#/components/{kind}/{name}"' not in text}
        assert unused == ({"NotFound", "NotAllowed"} if kind == "responses" else set())
    for (method, path, status), response in _documented().items():
        assert response["description"], (method, path, status)
    for path, item in DOCUMENT["paths"].items():
        for method in METHODS:
            parameters = item.get("parameters", []) + item.get(method, {}).get("parameters", [])
            assert {p["name"] for p in parameters if p["in"] == "path"} == set(re.findall(r"\{(\w+)\}", path))
