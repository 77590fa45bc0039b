"""Collectors that understand OTLP: over HTTP (an http.server that can behave badly) and gRPC (python3-grpcio). Both keep
what they were sent, decoded by tests/support/otlp.py.
"""

import collections
import concurrent.futures
import gzip
import http.server
import json
import os
import socketserver
import ssl
import threading

from tests.support import otlp
from tests.support.waiting import PATIENCE, wait_until

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # or it has something to say about every program that a test starts

import grpc  # noqa: E402

REQUESTS = {"metrics": "ExportMetricsServiceRequest", "logs": "ExportLogsServiceRequest"}
Point = collections.namedtuple("Point", "metric kind temporality monotonic attributes point resource received")


class Export:
    """One request as it came."""

    def __init__(self, path, headers, body, peer, decoded=None):
        self.path, self.headers, self.body, self.peer = path, headers, body, peer
        self.signal = "logs" if "logs" in path.lower() else "metrics"
        self.message = decoded if decoded is not None else self._decode()

    def _decode(self):
        plain = gzip.decompress(self.body) if self.headers.get("content-encoding") == "gzip" else self.body
        self.plain = plain
        kind = REQUESTS[self.signal]
        if self.headers["content-type"] == "application/json":
            return otlp.from_json(kind, json.loads(plain))
        assert self.headers["content-type"] == "application/x-protobuf", self.headers
        message = otlp.messages[kind]()
        message.ParseFromString(plain)
        return message

    def resources(self):
        return self.message.resource_logs if self.signal == "logs" else self.message.resource_metrics

    def resource(self):
        (only,) = self.resources()
        return otlp.attributes(only.resource.attributes)

    def records(self):
        return [record for resource in self.message.resource_logs for scope in resource.scope_logs
                for record in scope.log_records]

    def metrics(self):
        return {metric.name: metric for resource in self.message.resource_metrics for scope in resource.scope_metrics
                for metric in scope.metrics}

    def points(self, name):
        """The points of a metric as {attributes: point}; attributes are a frozenset of pairs."""
        metric = self.metrics().get(name)
        if metric is None:
            return {}
        data = getattr(metric, metric.WhichOneof("choice"))
        return {frozenset(otlp.attributes(point.attributes).items()): point for point in data.data_points}

    def value(self, name, **wanted):
        """The sum over the points whose attributes are among others `wanted`; `_` in a name stands for `.`."""
        items = {(key.replace("_", "."), value) for key, value in wanted.items()}
        return sum(point.as_double if point.WhichOneof("choice") == "as_double" else point.as_int
                   for attributes, point in self.points(name).items() if items <= attributes)


class Received:
    """What has come so far, and waiting for more."""

    def __init__(self):
        self.exports = []
        self.errors = []

    def of(self, signal):
        return [export for export in self.exports if export.signal == signal]

    def records(self):
        return [record for export in self.of("logs") for record in export.records()]

    def wait_metrics(self, predicate=lambda export: True, timeout=10.0):
        """The first export of metrics that `predicate` likes, among those to come, too."""
        return wait_until(lambda: next((e for e in self.of("metrics") if predicate(e)), None), timeout, "metrics")

    def wait_record(self, predicate, timeout=10.0):
        looked = 0

        def find():
            nonlocal looked
            for export in self.exports[looked:]:  # each once: there may be thousands of records
                looked += 1
                for record in export.records() if export.signal == "logs" else ():
                    if predicate(record):
                        return record
            return None
        return wait_until(find, timeout, "a log record")

    def wait_exports(self, n, signal, timeout=30.0):
        wait_until(lambda: len(self.of(signal)) >= n, timeout, f"{n} exports of {signal}")
        return self.of(signal)


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass  # a client that went away


class HttpCollector(Received):
    """`behave(export, handler)` may answer by itself and return True; otherwise the answer is an empty 200."""

    def __init__(self, namespace, address=("0.0.0.0", 4318), tls=None, family=None):
        super().__init__()
        self.behave = lambda export, handler: False
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                export = None
                try:
                    export = Export(self.path, headers, body, self.client_address)
                except Exception as error:  # told by the test
                    collector.errors.append(error)
                if export is None:
                    return self.reply(400)
                if not collector.behave(export, self):
                    collector.exports.append(export)
                    self.reply(200)

            def reply(self, status, body=b"", **headers):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(body)

            def setup(self):
                super().setup()
                if tls:
                    self.request.settimeout(30)

            def log_message(self, *arguments):
                pass

        with namespace.inside():
            self.server = _Server(address, Handler)
        self.port = self.server.server_address[1]
        self.tls = tls
        if tls:
            # The handshake is the handler's: a connection that never begins one must not hold up the others.
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self._thread.join(10 * PATIENCE)
        assert not self.errors, self.errors


class GrpcCollector(Received):
    """python3-grpcio with generic handlers. `behave(export, context)` may abort the call or return another answer."""

    def __init__(self, namespace, address, credentials=None):
        super().__init__()
        self.behave = lambda export, context: None
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=4))
        self._server.add_generic_rpc_handlers((self._handler("metrics"), self._handler("logs")))
        with namespace.inside():
            port = (self._server.add_secure_port(address, credentials) if credentials
                    else self._server.add_insecure_port(address))
            assert port, address
        self._server.start()

    def _handler(self, signal):
        def export(request, context):
            headers = dict(context.invocation_metadata())
            message = otlp.messages[REQUESTS[signal]]()
            message.ParseFromString(request)
            one = Export(f"/{signal}", headers, request, context.peer(), message)
            one.left = context.time_remaining()
            answer = self.behave(one, context)
            self.exports.append(one)
            return answer if answer is not None else b""
        service = f"opentelemetry.proto.collector.{signal}.v1.{signal.capitalize()}Service"
        # No serializers: bytes go in and out.
        return grpc.method_handlers_generic_handler(
            service, {"Export": grpc.unary_unary_rpc_method_handler(export)})

    def close(self):
        self._server.stop(0.2).wait()
        assert not self.errors, self.errors


def server_tls(certificate, key, client_ca=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if client_ca:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
