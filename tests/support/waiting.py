"""Waiting for a condition, with a limit."""

import os
import time

# How much longer than by itself the sidecar may take: under valgrind, beside other tests.
PATIENCE = float(os.environ.get("EGRESS_PATIENCE", "1"))
# How much longer whoever only waits goes on: a machine that is busy with other things is no fault of the sidecar's.
WAITING = max(PATIENCE, 2)


def wait_until(condition, timeout=5.0, what="a condition"):
    """Returns the first true value of `condition()`."""
    deadline = time.monotonic() + timeout * WAITING
    while True:
        late = time.monotonic() > deadline  # before the look: however long this process paused, one look follows
        value = condition()
        if value:
            return value
        if late:
            raise AssertionError(f"waited {timeout * WAITING:.0f} s in vain for {what}")
        time.sleep(0.005)
