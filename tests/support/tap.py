"""What arrives at a device, whatever it is: frames as they came, in their order."""

import os
import socket
import threading

from tests.support.waiting import wait_until

ETH_P_ALL = 0x0003
SO_RCVBUFFORCE = 33
PACKET_OUTGOING = 4
SENTINEL = ("203.0.113.200", 9)  # a policy under test allows this address


class Tap:
    def __init__(self, namespace, device):
        self.frames = []
        self._ended = False
        with namespace.inside():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self._socket.bind((device, ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self._socket.settimeout(0.1)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        while not self._ended:
            try:
                frame, address = self._socket.recvfrom(65535)
            except socket.timeout:
                continue
            if address[2] != PACKET_OUTGOING:
                self.frames.append(frame)

    def holding(self, *needles):
        """Frames with one of these addresses or byte strings in them."""
        wanted = [needle if isinstance(needle, bytes) else socket.inet_pton(
            socket.AF_INET6 if ":" in needle else socket.AF_INET, needle) for needle in needles]
        return [frame for frame in self.frames if any(one in frame for one in wanted)]

    def catch_up(self, sender, to=SENTINEL):
        """Returns when everything has been seen that was sent before, by a datagram that is let through."""
        token = os.urandom(16)
        with sender.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(token, to)
        wait_until(lambda: self.holding(token), what="the sentinel")
        return self

    def close(self):
        self._ended = True
        self._thread.join(5)
        self._socket.close()
