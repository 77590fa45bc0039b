"""What a process keeps in memory, in KiB, as proc_pid_status(5) tells."""

import re

from tests.support.waiting import PATIENCE


def status_kib(pid, field):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return int(re.search(rf"^{field}:\s+(\d+)", status.read(), re.M)[1])


def is_usual(pid):
    """Not under valgrind or ASan."""
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps:
        return PATIENCE == 1 and "libasan" not in maps.read()
