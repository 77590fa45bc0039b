"""When does the kernel show what a transaction put into an interval set: with the rules of that transaction, or later?

    unshare -n /usr/bin/python3 bench/publication.py SECONDS RANGES

One transaction goes from "refuse all" to "refuse what is in the set", with one address among RANGES in the set; another
goes back. A sender tries that address all the time: whatever passes did so between rules and set.
"""

import socket
import subprocess
import sys
import threading
import time

VICTIM = "203.0.113.100"
SETUP = f"""ip link add d0 type veth peer name d1; ip link set d1 up; ip link set d0 up
ip addr add 203.0.113.1/24 dev d0; ip neigh add {VICTIM} lladdr 02:00:00:00:00:01 dev d0"""
TABLE = """table inet t {
    set d { type ipv4_addr; flags interval; }
    chain o {
        type filter hook output priority 0; policy accept;
    }
}
"""
BEGIN = "flush chain inet t o\nflush set inet t d\nadd rule inet t o ip daddr @d reject\n"


def nft(text):
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)


def main():
    seconds, n = float(sys.argv[1]), int(sys.argv[2])
    subprocess.run(SETUP, shell=True, check=True)
    members = [VICTIM] + [f"10.{i // 128}.{i % 128 * 2}.0/24" for i in range(n - 1)]
    closed = BEGIN + "add rule inet t o reject\n"
    listed = BEGIN + "add element inet t d { " + ",".join(members) + " }\n"
    nft(TABLE + closed)
    counts, running = {"passed": 0, "refused": 0}, True

    def send():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            while running:
                try:
                    sock.sendto(b"x", (VICTIM, 9))
                    counts["passed"] += 1
                except OSError:
                    counts["refused"] += 1

    sender = threading.Thread(target=send)
    sender.start()
    changes, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        nft(listed)
        nft(closed)
        changes += 2
    running = False
    sender.join()
    print(f"{n} ranges, {changes} changes: {counts['passed']} passed, {counts['refused']} refused")


if __name__ == "__main__":
    main()
