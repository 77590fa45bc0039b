"""A web server that is told things: it keeps what was posted to it, and answers as `behave(post)` says: a status, or None
to close the connection without an answer."""

import http.server
import json
import socket
import ssl
import threading
import time

from tests.support.tcpclient import family_of
from tests.support.waiting import wait_until


class Post:
    def __init__(self, handler, body):
        self.time = time.monotonic()
        self.path, self.headers, self.body = handler.path, handler.headers, body
        self.client = handler.client_address[0]

    def json(self):
        return json.loads(self.body)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.send_response(200)
        self.end_headers()
        self.close_connection = True

    def do_POST(self):
        receiver = self.server.receiver
        post = Post(self, self.rfile.read(int(self.headers["Content-Length"])))
        receiver.posts.append(post)
        status = receiver.behave(post)
        if status is None:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, receiver, sock):
        super().__init__(sock.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket, self.receiver = sock, receiver
        self.connections = []

    def get_request(self):
        sock, client = super().get_request()
        self.connections.append(sock)
        return sock, client

    def handle_error(self, *_):
        pass  # a client that went away


class Receiver:
    """Listens until close(). `tls` is (certificate file, key file). `posts` are those received, in order."""

    def __init__(self, namespace, address, port, behave=lambda post: 200, tls=None):
        self.posts, self.behave = [], behave
        with namespace.inside():
            sock = socket.socket(family_of(address), socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(128)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            sock = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        self._server = _Server(self, sock)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def connections(self):
        return len(self._server.connections)

    def hostnames(self):
        return [post.json()["hostname"] for post in list(self.posts)]

    def wait_told(self, hostname, times=1, timeout=5.0):
        wait_until(lambda: self.hostnames().count(hostname) >= times, timeout=timeout,
                   what=f"{times} posts about {hostname}")

    def close(self):
        if not self._thread.is_alive():
            return
        self._server.shutdown()
        self._thread.join()
        for sock in self._server.connections:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._server.socket.close()
