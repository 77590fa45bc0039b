"""What a container runtime does for the entry point of an image: process and mount namespaces and a root of its own, uid 0
with CAP_NET_ADMIN and no other capability. The network namespace stays, as in a pod."""

import pathlib
import subprocess
import sys

from tests.support.waiting import wait_until

# Runs as the first process of the namespaces: becomes the entry point.
ENTER = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
os.chroot(sys.argv[1])
os.chdir("/")
for capability in range(64):
    if capability != 12:                   # CAP_NET_ADMIN
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
os.execv(sys.argv[2], sys.argv[2:])
"""


class Container:
    def __init__(self, namespace, image, entry_point, env):
        self.namespace, self.env = namespace, env
        self.process = namespace.popen(
            "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", 'mount -t proc proc "$0/proc" && exec "$@"',
            str(image), sys.executable, "-c", ENTER, str(image), *entry_point, env=env,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    @property
    def init(self):
        """The machine's number of the container's process 1."""
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(wait_until(lambda: children.read_text().split(), what="process 1")[0])

    def children(self):
        return [int(pid) for pid in pathlib.Path(f"/proc/{self.init}/task/{self.init}/children").read_text().split()]

    def run(self, command):
        """A command inside, as a health check is run."""
        return subprocess.run(["nsenter", "--target", str(self.init), "--mount", "--pid", "--net", "--root", "--wd=/",
                               *command], env=self.env, capture_output=True, text=True, check=False, timeout=30)

    def wait_end(self):
        """The exit code and all that was printed."""
        output, _ = self.process.communicate(timeout=30)
        return self.process.returncode, output

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
