"""How the sidecar reaches its collector: through its own rules whatever the policy, by name and by address, over TLS."""

import subprocess

import pytest

from tests.support import dnsclient, tcpclient
from tests.support.collector import GrpcCollector, HttpCollector, server_tls
from tests.support.waiting import PATIENCE

import grpc

V4, OTHER_V4, V6 = "192.0.2.80", "192.0.2.81", "2001:db8::53"
DENY_ALL = {"defaultAction": "deny", "egress": []}


@pytest.fixture
def collector(world):
    """collector(address, port=4318, **options) listens in the internet."""
    collectors = []

    def start_one(address, port=4318, kind=HttpCollector, **options):
        where = (address, port) if kind is HttpCollector else f"{address}:{port}"
        collectors.append(kind(world.internet, where, **options))
        return collectors[-1]
    yield start_one
    for one in collectors:
        one.close()


def exporting(endpoint, **settings):
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_METRIC_EXPORT_INTERVAL": "200", "MODE": "dns+nft",
            "OTEL_BLRP_SCHEDULE_DELAY": "50", "RULES": DENY_ALL, "LOG_LEVEL": "debug", **settings}


def names(address, ttl=1):
    """A resolver that knows collector.test at the address that `address()` tells."""
    def behave(request):
        a = request.message.question[0].rdtype == 1 and request.name == "collector.test."
        request.reply(request.answer(*[f"collector.test. {ttl} A {address()}"] if a else ()))
    return behave


def check_unseen(sidecar, export):
    """Its own lookups and connections leave no event and no count."""
    for event in "outbound", "denied":
        assert not sidecar.events(event)
    assert export.value("egress.dns.queries") == 0 and export.value("egress.policy.denied_total") == 0
    assert export.value("egress.peer.connections") == 0
    assert sum(point.count for point in export.points("egress.dns.query.duration").values()) == 0


def test_by_name_under_deny_all(world, start, collector, resolver):
    one = collector(V4)
    upstream = resolver("192.0.2.99", names(lambda: V4))
    sidecar = start(**exporting("http://collector.test:4318", DNS_UPSTREAM="192.0.2.99"))
    export = one.wait_exports(3, "metrics")[-1]
    one.wait_record(lambda r: r.event_name == "egress.loaded")
    assert upstream.asked("collector.test")
    check_unseen(sidecar, export)
    assert not tcpclient.connects(world.sandbox, V4, 4318), "the application does not reach it"
    assert dnsclient.rcode(dnsclient.ask(world.sandbox, "collector.test")) == "NXDOMAIN"


@pytest.mark.parametrize("address, endpoint", [(V4, f"http://{V4}:4318"), (V6, f"http://[{V6}]:4318")])
def test_by_address_under_deny_all(world, start, collector, address, endpoint):
    import socket
    from tests.support.collector import _Server
    one = None
    if ":" in address:
        _Server.address_family = socket.AF_INET6
    try:
        one = collector(address)
    finally:
        _Server.address_family = socket.AF_INET
    sidecar = start(**exporting(endpoint))
    export = one.wait_exports(2, "metrics")[-1]
    check_unseen(sidecar, export)


def test_a_collector_that_moves(start, collector, resolver):
    home = [V4]
    first = collector(V4)
    resolver("192.0.2.99", names(lambda: home[0]))
    sidecar = start(**exporting("http://collector.test:4318", DNS_UPSTREAM="192.0.2.99"))
    before = first.wait_exports(2, "metrics")[0]
    second = collector(OTHER_V4)
    home[0] = OTHER_V4
    first.server.shutdown()
    first.server.server_close()
    # Connections that are open die with the collector.
    first.behave = lambda export, handler: handler.connection.shutdown(2) or True
    after = second.wait_exports(2, "metrics", 60)[-1]
    check_unseen(sidecar, after)

    def started(export):
        return next(iter(export.points("egress.policy.denied_total").values())).start_time_unix_nano
    assert started(before) == started(after)


# --- TLS ---

def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


class Authority:
    """A certificate authority and what it signs, in a folder."""

    def __init__(self, folder, name="ca"):
        self.folder, self.cert, self.key = folder, folder / f"{name}.pem", folder / f"{name}.key"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                "-subj", f"/CN={name}", "-keyout", str(self.key), "-out", str(self.cert))

    def sign(self, name, alt=None):
        """Certificate and key for `name`; they replace those of that name."""
        key, request, cert = (self.folder / f"{name}.{end}" for end in ("key", "csr", "pem"))
        new_key, new_cert = key.with_suffix(".newkey"), cert.with_suffix(".newpem")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                "-keyout", str(new_key), "-out", str(request))
        extensions = self.folder / "extensions"
        extensions.write_text(f"subjectAltName={alt}\n" if alt else "")
        openssl("x509", "-req", "-in", str(request), "-CA", str(self.cert), "-CAkey", str(self.key), "-CAcreateserial",
                "-days", "2", "-out", str(new_cert), "-extfile", str(extensions))
        new_key.rename(key)
        new_cert.rename(cert)
        return cert, key


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


ALT = f"DNS:collector.test,IP:{V4}"


def test_tls_by_name_and_a_certificate_that_is_not_its(start, collector, resolver, authority):
    one = collector(V4, 443, tls=server_tls(*authority.sign("server", ALT)))
    resolver("192.0.2.99", names(lambda: V4))
    start(**exporting("https://collector.test", DNS_UPSTREAM="192.0.2.99", OTEL_EXPORTER_OTLP_CERTIFICATE=str(authority.cert)))
    assert one.wait_metrics().path == "/v1/metrics"
    one.wait_exports(1, "logs")


@pytest.mark.parametrize("trusted", [True, False])
def test_a_server_that_nobody_vouches_for(start, collector, authority, trusted):
    """An unknown authority, or a certificate of somebody else."""
    alt = "DNS:other.test" if trusted else ALT
    one = collector(V4, 4443, tls=server_tls(*authority.sign("server", alt)))
    settings = {"OTEL_EXPORTER_OTLP_CERTIFICATE": str(authority.cert)} if trusted else {}
    # What the last try before the time is over failed with is told: it must not be cut short itself.
    sidecar = start(**exporting(f"https://{V4}:4443", OTEL_EXPORTER_OTLP_TIMEOUT=str(int(5000 * PATIENCE)), **settings))
    sidecar.wait_record(lambda r: r["msg"] == "telemetry could not be exported" and "certificate" in r["error"].lower(), 20)
    assert not one.exports


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_mutual_tls(start, collector, authority, protocol):
    server = authority.sign("server", ALT)
    client_cert, client_key = authority.sign("client")
    if protocol == "grpc":
        credentials = grpc.ssl_server_credentials([(server[1].read_bytes(), server[0].read_bytes())],
                                                  authority.cert.read_bytes(), require_client_auth=True)
        one = collector(V4, 4443, kind=GrpcCollector, credentials=credentials)
    else:
        one = collector(V4, 4443, tls=server_tls(*server, client_ca=authority.cert))
    start(**exporting(f"https://{V4}:4443", OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
                      OTEL_EXPORTER_OTLP_CERTIFICATE=str(authority.cert),
                      OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=str(client_cert), OTEL_EXPORTER_OTLP_CLIENT_KEY=str(client_key)))
    assert one.wait_exports(3, "metrics")[-1].metrics()
    one.wait_exports(1, "logs")


def test_changed_certificates_are_read_again(start, collector, tmp_path):
    """The collector gets a new authority, for itself and its clients: nothing arrives until the files change, too."""
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    old, new = Authority(tmp_path / "old"), Authority(tmp_path / "new")
    server = old.sign("server", ALT)
    client_cert, client_key = old.sign("client")
    one = collector(V4, 4443, tls=server_tls(*server, client_ca=old.cert))
    sidecar = start(**exporting(f"https://{V4}:4443", OTEL_EXPORTER_OTLP_CERTIFICATE=str(old.cert),
                                OTEL_EXPORTER_OTLP_TIMEOUT="2000",
                                OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=str(client_cert),
                                OTEL_EXPORTER_OTLP_CLIENT_KEY=str(client_key)))
    one.wait_exports(2, "metrics")
    one.behave = lambda export, handler: handler.connection.close() or True
    one.server.shutdown()
    one.server.server_close()
    second = collector(V4, 4443, tls=server_tls(*new.sign("server", ALT), client_ca=new.cert))
    sidecar.wait_record(lambda r: r["msg"] == "telemetry could not be exported", 15)
    assert not second.exports
    cert, key = new.sign("client")
    key.rename(client_key)
    cert.rename(client_cert)
    new.cert.rename(old.cert)
    second.wait_exports(2, "metrics", 30)
