"""TLS of the API: what clients and strangers see of it, certificates of clients, files that change."""

import contextlib
import http.client
import json
import os
import pathlib
import socket
import ssl
import subprocess
import time

import pytest

from tests.support.metrics import Scrape
from tests.support.sidecar import PORT, Client, command
from tests.support.tap import Tap
from tests.support.waiting import wait_until
from tests.support.world import SANDBOX_V4

CONFIG = 78
TOKEN = "s3cret-s3cret-s3cret"
AUTH = {"OPENSANDBOX-EGRESS-AUTH": TOKEN}


def _openssl(*words, **options):
    return subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, text=True, **options).stdout


class Authority:
    """Vouches for certificates of servers and clients, all of them files of one folder."""

    def __init__(self, folder, name="authority"):
        self.folder = pathlib.Path(folder)
        self.name, self.certificate, self.key = name, self.folder / f"{name}.pem", self.folder / f"{name}.key"
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 2, "-subj",
                 f"/CN={name}", "-keyout", self.key, "-out", self.certificate)

    def issue(self, name, purpose="serverAuth", days=1):
        """A key and a certificate for it, as paths."""
        key, request, certificate = (self.folder / f"{name}.{kind}" for kind in ("key", "csr", "crt"))
        _openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                 "-keyout", key, "-out", request)
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName=DNS:localhost,IP:127.0.0.1,IP:{SANDBOX_V4}\nextendedKeyUsage={purpose}\n")
        _openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial",
                 "-days", days, "-extfile", extensions, "-out", certificate)
        return certificate, key


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def pair(authority):
    return authority.issue("server")


@pytest.fixture
def start_tls(start, pair):
    def start_one(cert=None, key=None, **settings):
        sidecar = start(healthy=False, TLS_CERT=str(cert or pair[0]), TLS_KEY=str(key or pair[1]), **settings)
        local = Client(sidecar.namespace, path=sidecar.socket)

        def healthy():
            assert sidecar.process.poll() is None, sidecar.stderr
            return local.healthy()
        wait_until(healthy, timeout=10, what="/healthz at the socket")
        return sidecar
    return start_one


def _context(authority, client=None, **options):
    context = ssl.create_default_context(cafile=str(authority.certificate))
    for name, value in options.items():
        setattr(context, name, value)
    if client:
        context.load_cert_chain(*map(str, client))
    return context


def _connect(world, context, host="127.0.0.1"):
    with world.sandbox.inside():
        sock = socket.create_connection((host, PORT), timeout=10)
    try:
        return context.wrap_socket(sock, server_hostname=host)
    except BaseException:
        sock.close()
        raise


def _ask(world, context, path="/policy", method="GET", headers=None, body=None):
    """Status and text of one request; the certificate that the server showed."""
    with _connect(world, context) as sock:
        shown = sock.getpeercert()
        connection = http.client.HTTPConnection("127.0.0.1")
        connection.sock = sock
        connection.request(method, path, body, headers or {})
        reply = connection.getresponse()
        return reply.status, reply.read().decode(), shown


def _serial(world, context):
    with _connect(world, context) as sock:
        return sock.getpeercert()["serialNumber"]


def test_everything_is_served_over_tls(world, start_tls, authority):
    sidecar = start_tls(TOKEN=TOKEN)
    context = _context(authority)
    assert _ask(world, context)[0] == 401
    status, text, _ = _ask(world, context, headers=AUTH)
    assert status == 200 and json.loads(text)["status"] == "ok"
    big = json.dumps([{"action": "allow", "target": f"name-{number:06}.example.test"} for number in range(4000)])
    assert _ask(world, context, method="PATCH", headers=AUTH, body=big)[0] == 200
    status, text, _ = _ask(world, context, headers=AUTH)
    assert len(json.loads(text)["policy"]["egress"]) == 4000
    for path in "/healthz", "/metrics", "/":
        assert _ask(world, context, path)[0] == 200
    assert not any("in the clear" in record["msg"] for record in sidecar.records)


def test_curl_and_openssl_agree(world, start_tls, authority):
    start_tls()
    done = world.sandbox.run("curl", "-sS", "--cacert", str(authority.certificate), f"https://127.0.0.1:{PORT}/healthz")
    assert (done.returncode, done.stdout) == (0, "ok"), done
    for version, works in ("-tls1_3", True), ("-tls1_2", True), ("-tls1_1", False), ("-tls1", False):
        done = world.sandbox.run("openssl", "s_client", version, "-cipher", "ALL:@SECLEVEL=0", "-brief", "-verify_return_error",
                                 "-CAfile", str(authority.certificate), "-connect", f"127.0.0.1:{PORT}", stdin=subprocess.DEVNULL)
        assert (done.returncode == 0) == works, (version, done)


def test_plain_http_is_refused(world, start_tls):
    sidecar = start_tls(TOKEN=TOKEN)
    for path in "/healthz", "/policy":
        with pytest.raises((OSError, http.client.HTTPException)):
            sidecar.request("GET", path, headers=AUTH)
    assert Client(world.sandbox, path=sidecar.socket).healthy(), "at the socket nothing has changed"


def test_token_is_not_seen_on_the_way(world, start_tls, authority):
    """The control is test_api.py: without TLS it is."""
    start_tls(TOKEN=TOKEN)
    with contextlib.closing(Tap(world.sandbox, "lo")) as tap:
        assert _ask(world, _context(authority), headers=AUTH)[0] == 200
        with world.sandbox.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"the end of it", ("127.0.0.1", 9))
        wait_until(lambda: tap.holding(b"the end of it"), what="the tap")
        assert not tap.holding(TOKEN.encode())


def test_health_and_ctl_by_the_socket_and_over_tls(world, start_tls, authority, pair):
    sidecar = start_tls(TOKEN=TOKEN)
    tls = {"TLS_CERT": str(pair[0]), "TLS_KEY": str(pair[1])}
    assert command(world.sandbox, ["--health"], {**tls, "API_SOCKET": sidecar.socket}).stdout == "ok\n"
    done = command(world.sandbox, ["--health"], tls)
    assert done.returncode == 1 and "TLS" in done.stderr and "API_SOCKET" in done.stderr
    for words in [], ["--address", f"https://127.0.0.1:{PORT}", "--cacert", str(authority.certificate)], \
            ["--address", f"https://:{PORT}", "--cacert", str(authority.certificate)]:
        settings = {**tls, "API_SOCKET": sidecar.socket, "TOKEN": TOKEN}
        done = command(world.sandbox, ["ctl", "policy", "get", *words], settings)
        assert done.returncode == 0, done
    done = command(world.sandbox, ["ctl", "policy", "get", "--address", f"https://127.0.0.1:{PORT}"], {"TOKEN": TOKEN})
    assert done.returncode == 69 and "certificate" in done.stderr


# --- what cannot be used ---

def _refused(world, settings, *says):
    done = command(world.sandbox, [], {"DNS_UPSTREAM": "192.0.2.53", **settings})
    assert done.returncode == CONFIG and done.stderr.count("\n") == 1, done
    checked = command(world.sandbox, ["--check"], settings)
    assert checked.returncode == CONFIG, checked
    for words in says:
        assert words in done.stderr and words in checked.stderr
    for family in "inet", "netdev":
        world.sandbox.run("nft", "delete", "table", family, "opensandbox")


def test_files_that_cannot_be_used(world, pair, authority, tmp_path):
    cert, key = map(str, pair)
    other = authority.issue("other")[1]
    text = tmp_path / "text"
    text.write_text("no PEM")
    (tmp_path / "secret").write_text(pathlib.Path(key).read_text())
    os.chown(tmp_path / "secret", 65534, 65534)
    os.chmod(tmp_path / "secret", 0o600)
    both = ("TLS_CERT", "TLS_KEY")
    _refused(world, {"TLS_CERT": cert}, *both)
    _refused(world, {"TLS_KEY": key}, *both)
    _refused(world, {"TLS_CLIENT_CA": cert}, *both, "TLS_CLIENT_CA")
    _refused(world, {"TLS_CERT": "/nonexistent", "TLS_KEY": key}, "TLS_CERT", "/nonexistent", "No such file")
    _refused(world, {"TLS_CERT": cert, "TLS_KEY": "/nonexistent"}, "TLS_KEY", "/nonexistent")
    _refused(world, {"TLS_CERT": cert, "TLS_KEY": str(tmp_path / "secret")}, "TLS_KEY", "Permission denied")
    _refused(world, {"TLS_CERT": cert, "TLS_KEY": str(other)}, *both, cert, str(other))
    _refused(world, {"TLS_CERT": str(text), "TLS_KEY": key}, "TLS_CERT", str(text))
    _refused(world, {"TLS_CERT": cert, "TLS_KEY": key, "TLS_CLIENT_CA": str(text)}, "TLS_CLIENT_CA", str(text))


# --- certificates of clients ---

def test_clients_need_a_certificate_but_probes_do_not(world, start_tls, authority, tmp_path):
    sidecar = start_tls(TLS_CLIENT_CA=str(authority.certificate))
    nobody = _context(authority)
    for path in "/healthz", "/livez":
        assert _ask(world, nobody, path)[:2] == (200, "ok")
    for path in "/policy", "/metrics", "/", "/nowhere", "/events":
        status, text, _ = _ask(world, nobody, path)
        assert status == 403 and "certificate" in text, path
    event = sidecar.wait_event("api.denied", reason="certificate")
    assert event["peer"] == "127.0.0.1"
    client = authority.issue("client", "clientAuth")
    for path in "/policy", "/metrics", "/":
        assert _ask(world, _context(authority, client), path)[0] == 200
    stranger = Authority(tmp_path, "stranger").issue("client", "clientAuth")
    a_server = authority.issue("another", "serverAuth")
    expired = authority.issue("expired", "clientAuth", days=-1)
    for wrong in stranger, a_server, expired:
        assert _ask(world, _context(authority, wrong), "/policy")[0] == 403, wrong
    local = Client(world.sandbox, path=sidecar.socket)
    assert local.request("GET", "/policy").status == 200, "which has no certificates"
    assert Scrape(local).value("egress_api_denied_total", reason="certificate") == 8


# --- files that change ---

class Secret:
    """A Kubernetes secret as a volume: files are links into a folder that is exchanged whole."""

    def __init__(self, folder, pair):
        self.folder, self._n = pathlib.Path(folder), 0
        self.put(pair)
        for name in "tls.crt", "tls.key":
            (self.folder / name).symlink_to(f"..data/{name}")
        self.cert, self.key = self.folder / "tls.crt", self.folder / "tls.key"

    def put(self, pair):
        self._n += 1
        version = self.folder / f"..version{self._n}"
        version.mkdir()
        for name, source in zip(("tls.crt", "tls.key"), pair):
            (version / name).write_bytes(pathlib.Path(source).read_bytes())
        new = self.folder / "..data_tmp"
        new.symlink_to(version.name)
        new.rename(self.folder / "..data")


def test_new_certificate_is_taken_and_old_connections_go_on(world, start_tls, authority, pair, tmp_path):
    secret = Secret(tmp_path, pair)
    sidecar = start_tls(secret.cert, secret.key)
    context = _context(authority)
    before = _serial(world, context)
    kept = _connect(world, context)
    connection = http.client.HTTPConnection("127.0.0.1")
    connection.sock = kept
    files = len(os.listdir(f"/proc/{sidecar.process.pid}/fd"))
    for number in range(2):
        secret.put(authority.issue(f"new{number}"))
        wait_until(lambda: _serial(world, context) != before, timeout=15, what="the new certificate")
        before = _serial(world, context)
        if connection:  # of before the first change: it goes on, and is asked to go
            connection.request("GET", "/policy")
            reply = connection.getresponse()
            assert reply.status == 200 and reply.read() and reply.headers["Connection"].lower() == "close"
            kept.close()
            connection = None
    wait_until(lambda: len(os.listdir(f"/proc/{sidecar.process.pid}/fd")) < files + 3, what="what is old to be gone")
    assert len([r for r in sidecar.records if "certificate was read anew" in r["msg"]]) == 2


def test_asked_all_the_time_nobody_is_refused_while_it_changes(world, start_tls, authority, pair, tmp_path):
    secret = Secret(tmp_path, pair)
    start_tls(secret.cert, secret.key)
    context = _context(authority)
    before = _serial(world, context)
    secret.put(authority.issue("newer"))
    end = time.monotonic() + 30
    while _serial(world, context) == before:  # a connection each time
        assert time.monotonic() < end
        assert _ask(world, context, "/healthz")[0] == 200


def test_broken_pair_keeps_the_old_one(world, start_tls, authority, pair, tmp_path):
    secret = Secret(tmp_path, pair)
    sidecar = start_tls(secret.cert, secret.key)
    context = _context(authority)
    before = _serial(world, context)
    other = authority.issue("mixed")
    secret.put((pair[0], other[1]))  # which do not belong together
    warning = sidecar.wait_record(lambda r: "keeps its old certificate" in r["msg"], timeout=15)
    assert warning["level"] == "warn" and str(secret.cert) in warning["msg"]
    assert _serial(world, context) == before
    secret.put(other)
    wait_until(lambda: _serial(world, context) != before, timeout=15, what="the pair that fits")
    assert len([r for r in sidecar.records if "keeps its old certificate" in r["msg"]]) == 1


def test_authority_of_clients_changes(world, start_tls, authority, tmp_path):
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.certificate.read_bytes())
    start_tls(TLS_CLIENT_CA=str(ca))
    mine, other = authority.issue("mine", "clientAuth"), Authority(tmp_path, "second")
    others = other.issue("others", "clientAuth")
    assert _ask(world, _context(authority, mine))[0] == 200
    assert _ask(world, _context(authority, others))[0] == 403
    ca.write_bytes(other.certificate.read_bytes())
    wait_until(lambda: _ask(world, _context(authority, others))[0] == 200, timeout=15, what="the new authority")
    assert _ask(world, _context(authority, mine))[0] == 403


def test_stop_with_connections_of_both_ages(world, start_tls, authority, pair, tmp_path):
    secret = Secret(tmp_path, pair)
    sidecar = start_tls(secret.cert, secret.key)
    context = _context(authority)
    before = _serial(world, context)
    old = _connect(world, context)
    secret.put(authority.issue("last"))
    wait_until(lambda: _serial(world, context) != before, timeout=15, what="the new certificate")
    with old, _connect(world, context):
        began = time.monotonic()
        assert sidecar.stop() == 0
        assert time.monotonic() - began < 10
