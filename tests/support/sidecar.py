"""The sidecar under test, in a namespace: started with an environment, watched through its API and its log lines.

EGRESS_BINARY names the binary. EGRESS_UNDER runs it under `valgrind` (memory errors and leaks fail the test that
started it) or `strace` (so does any program it executes).
"""

import contextlib
import http.client
import itertools
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import threading

from tests.support.waiting import PATIENCE, WAITING, wait_until
from tests.support.world import UPSTREAM_V4

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("EGRESS_BINARY", str(ROOT / "build/src/opensandbox-egress"))
UNDER = os.environ.get("EGRESS_UNDER", "")
VALGRIND_ERROR = 99
PORT = 18080

_numbers = itertools.count()


def environment(settings):
    """Turns short names into the sidecar's variables: MODE="dns" is OPENSANDBOX_EGRESS_MODE; OTEL_…, HOST_IP and those
    of a service manager stay as they are. A policy may be given as a Python value. None leaves a variable out.

    There is no socket in the file system unless it is named: its usual place is one for the whole machine."""
    result = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
              "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1",
              "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"}
    for name, value in {"API_SOCKET": "off", **settings}.items():
        if value is not None:
            whole = name.startswith(("OPENSANDBOX_", "OTEL_", "WATCHDOG_")) or name in ("HOST_IP", "NOTIFY_SOCKET")
            name = name if whole else f"OPENSANDBOX_EGRESS_{name}"
            result[name] = value if isinstance(value, str) else json.dumps(value)
    return result


def command(namespace, arguments, settings, through=(), **options):
    """Runs the binary to its end with exactly this environment; `through` as in Sidecar."""
    return namespace.run(*through, BINARY, *arguments, env=environment(settings), **options)


def _body(value):
    """Text as UTF-8, Python values as JSON; bytes and iterators (sent in chunks) as they are."""
    if isinstance(value, (dict, list)):
        value = json.dumps(value)
    return value.encode() if isinstance(value, str) else value


class Response:
    def __init__(self, reply):
        self.status = reply.status
        self.headers = reply.headers
        self.text = reply.read().decode()

    def json(self):
        return json.loads(self.text)


class _LocalConnection(http.client.HTTPConnection):
    """HTTP over a socket in the file system."""

    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Client:
    """Talks to the API from inside a namespace, or by its socket in the file system: `path`."""

    def __init__(self, namespace, host="127.0.0.1", port=PORT, source=None, timeout=15.0, path=None):
        self.namespace, self.host, self.port, self.source, self.path = namespace, host, port, source, path
        self.timeout = timeout * PATIENCE

    def request(self, method, path, body=None, headers=None):
        return self.send(method, path, body, headers)()

    def send(self, method, path, body=None, headers=None):
        """Sends the request; what it gives back waits for the response, once."""
        if self.path:
            connection = _LocalConnection(self.path, self.timeout)
        else:
            connection = http.client.HTTPConnection(self.host, self.port, timeout=self.timeout,
                                                    source_address=(self.source, 0) if self.source else None)
        with self.namespace.inside():
            connection.connect()
        connection.request(method, path, _body(body), headers or {})

        def receive():
            with contextlib.closing(connection):
                return Response(connection.getresponse())

        return receive

    def policy(self):
        return self.request("GET", "/policy").json()["policy"]

    def healthy(self):
        try:
            return self.request("GET", "/healthz").status == 200
        except (OSError, http.client.HTTPException):
            return False


class Sidecar(Client):
    def __init__(self, namespace, folder, read_stdout=True, through=(), arguments=(), **settings):
        """`through` is a program with arguments that starts the sidecar in its turn."""
        self._folder = pathlib.Path(folder)
        self._through = through
        self._arguments = arguments
        self._sockets = tempfile.TemporaryDirectory(prefix="egress-")  # a path of a socket has 107 octets
        self.socket = f"{self._sockets.name}/api.sock"
        self.settings = {"API_SOCKET": self.socket, "MODE": "dns+nft", "DNS_UPSTREAM": UPSTREAM_V4, "RULES_DIR": str(self._folder / "rules"),
                         **settings}
        address = self.settings.get("HTTP_ADDR", f":{PORT}")
        if address.startswith("unix:"):
            self.socket = address.removeprefix("unix:")
            super().__init__(namespace, path=self.socket)
        else:
            super().__init__(namespace, port=int(address.rpartition(":")[2]))
        self.read_stdout = read_stdout
        self.records, self.bad_lines, self.stderr = [], [], ""
        self._changed = threading.Condition()
        self._start()

    def _start(self):
        self._trace = self._folder / f"trace.{next(_numbers)}"
        self._end_awaited = False
        self.process = self.namespace.popen(*self._through, *self._watcher(), BINARY, *self._arguments,
                                            env=environment(self.settings),
                                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._readers = [threading.Thread(target=self._read_stderr, args=(self.process.stderr,), daemon=True)]
        if self.read_stdout:
            self._readers.append(threading.Thread(target=self._read_stdout, args=(self.process.stdout,), daemon=True))
        for reader in self._readers:
            reader.start()

    def _watcher(self):
        if UNDER == "valgrind":
            return ("valgrind", "-q", "--leak-check=full", "--errors-for-leak-kinds=definite,possible",
                    f"--error-exitcode={VALGRIND_ERROR}")
        if UNDER == "strace":
            return ("strace", "-D", "-f", "-qq", "-e", "trace=execve,execveat", "-e", "signal=none",
                    "-o", str(self._trace))
        return ()

    def _read_stderr(self, stream):
        for line in stream:
            self.stderr += line.decode(errors="replace")

    def _read_stdout(self, stream):
        for line in stream:
            with self._changed:
                try:
                    self.records.append(json.loads(line))
                except ValueError:
                    self.bad_lines.append(line)
                self._changed.notify_all()

    def drain_stdout(self):
        """Starts reading the standard output of a sidecar that was started with read_stdout=False."""
        thread = threading.Thread(target=self._read_stdout, args=(self.process.stdout,), daemon=True)
        thread.start()
        self._readers.append(thread)

    def wait_healthy(self):
        def healthy():
            if self.process.poll() is not None:
                raise AssertionError(f"the sidecar ended with {self.process.returncode}: {self.stderr}")
            return self.healthy()
        wait_until(healthy, timeout=10.0, what="/healthz")
        return self

    def wait_unhealthy(self):
        wait_until(lambda: not self.healthy(), what="/healthz to say no")

    def wait_record(self, predicate, timeout=5.0):
        """The first log record that `predicate` likes, already there or still to come."""
        def find():
            return next((record for record in self.records if predicate(record)), None)
        with self._changed:
            self._changed.wait_for(find, timeout * WAITING)
            found = find()
        assert found, f"no such record among {len(self.records)}: …{self.records[-5:]}"
        return found

    def wait_event(self, event, timeout=5.0, **fields):
        """The first record of an event with these fields; `_` in a field's name stands for `.`."""
        wanted = {"opensandbox.event": f"egress.{event}", **{k.replace("_", "."): v for k, v in fields.items()}}
        return self.wait_record(lambda record: wanted.items() <= record.items(), timeout)

    def events(self, event, **fields):
        wanted = {"opensandbox.event": f"egress.{event}", **{k.replace("_", "."): v for k, v in fields.items()}}
        return [record for record in self.records if wanted.items() <= record.items()]

    def signal(self, number):
        self.process.send_signal(number)

    def wait_end(self, timeout=15.0):
        """The exit code; everything it printed has been read afterwards."""
        code = self.process.wait(timeout * PATIENCE)
        self._end_awaited = True
        for reader in self._readers:
            reader.join(timeout)
        return code

    def kill(self):
        self.signal(signal.SIGKILL)
        self.wait_end()

    def stop(self):
        """SIGTERM, if it still runs; fails when it does not end well, or when valgrind or strace saw something."""
        awaited = self._end_awaited
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        code = self.wait_end()
        assert awaited or code in (0, -signal.SIGKILL), f"exit code {code}: {self.stderr}"
        assert not self.bad_lines, "log lines that are no JSON"
        if UNDER == "strace":
            trace = self._trace.read_text()
            expected = 2 if "--supervise" in self._arguments else 1
            assert trace.count("execve") == expected, f"only its own start is expected:\n{trace}"
        return code

    def restart(self):
        """Starts it anew in the same place; its predecessor must have ended."""
        assert self.process.poll() is not None
        self._start()
        return self
