"""A memory limit of the kernel's for programs of a test: a control group of version 2, or 1 where memory is counted by
that."""

import contextlib
import errno
import itertools
import os
import pathlib
import re

_V2, _V1 = pathlib.Path("/sys/fs/cgroup"), pathlib.Path("/sys/fs/cgroup/memory")
_numbers = itertools.count()


class MemoryLimit:
    """`through` are words in front of a program's, which start it within the limit."""

    def __init__(self, limit):
        controllers = _V2 / "cgroup.controllers"
        self._v2 = controllers.exists() and "memory" in controllers.read_text().split()
        if self._v2:
            (_V2 / "cgroup.subtree_control").write_text("+memory")
        self._folder = (_V2 if self._v2 else _V1) / f"egress-{os.getpid()}-{next(_numbers)}"
        self._folder.mkdir()
        self._write("memory.max" if self._v2 else "memory.limit_in_bytes", limit)
        with contextlib.suppress(OSError):  # no swap accounting here
            self._write("memory.swap.max" if self._v2 else "memory.memsw.limit_in_bytes", 0 if self._v2 else limit)
        # `ip netns exec` has a /sys of its own, in which control groups are not mounted.
        mount = "mount -t cgroup2 none /sys/fs/cgroup" if self._v2 else (
            "mount -t tmpfs none /sys/fs/cgroup && mkdir /sys/fs/cgroup/memory && "
            "mount -t cgroup -o memory none /sys/fs/cgroup/memory")
        self.through = ("sh", "-c", f'{mount} && echo $$ >{self._folder}/cgroup.procs && exec "$@"', "sh")

    def _write(self, name, value):
        (self._folder / name).write_text(str(value))

    def usage(self):
        """Bytes, those of the kernel on behalf of the programs included."""
        return int((self._folder / ("memory.current" if self._v2 else "memory.usage_in_bytes")).read_text())

    def kills(self):
        """How many processes the kernel killed because of the limit."""
        text = (self._folder / ("memory.events" if self._v2 else "memory.oom_control")).read_text()
        return int(re.search(r"^oom_kill (\d+)", text, re.M)[1])

    def close(self):
        """Whether it is gone; not while a program is in it."""
        try:
            self._folder.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            return False
        return True
