"""Waiting for a condition, with a limit."""

import os
import time

# How much longer than by itself the sidecar may take: under valgrind, beside other tests.
PATIENCE = float(os.environ.get("EGRESS_PATIENCE", "1"))


def wait_until(condition, timeout=5.0, what="a condition"):
    """Returns the first true value of `condition()`."""
    deadline = time.monotonic() + timeout * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout * PATIENCE:.0f} s in vain for {what}")
        time.sleep(0.005)
