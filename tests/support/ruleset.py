"""What the sidecar's table says, as nft lists it."""

import re
import time

from tests.support.waiting import wait_until


def seconds_left(namespace, address):
    """What is left of the lease of a learned address, None when it has none."""
    left = re.search(re.escape(address) + r" timeout \S+ expires (?:(\d+)m)?(?:(\d+)s)?", namespace.table())
    return int(left[1] or 0) * 60 + int(left[2] or 0) if left else None


def mark(namespace):
    """The mark of the sidecar's own packets."""
    return int(re.search(r"meta mark (0x\w+)", namespace.table())[1], 16)


def at_rest(namespace):
    """The table without what packets and time change in it: counters, seconds left, and the peers of the last minute."""
    text = re.sub(r"expires \w+|packets \d+ bytes \d+", "", namespace.table())
    return re.sub(r"(set peers_\w+ \{[^{}]*?)\s*elements = \{[^{}]*\}", r"\1", text)


def settled(namespace):
    """The same, once it stays as it is: what earlier tests left open is still being ended."""
    def agreed():
        look = at_rest(namespace)
        time.sleep(0.2)
        return look if at_rest(namespace) == look else None
    return wait_until(agreed, what="a table that stays as it is")


def learned(namespace):
    """The text of the sets of learned addresses."""
    return "".join(namespace.run("nft", "list", "set", "inet", "opensandbox", f"dyn_allow_{family}").stdout
                   for family in ("v4", "v6"))
