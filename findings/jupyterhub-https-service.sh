#!/bin/sh
# JupyterHub 6.1.1 with internal_ssl: a service with an https URL answers, but the hub cannot ask it and ends.
#
# With `internal_ssl` the hub gives each managed service a key and a certificate, so that the service can speak TLS. At
# start it waits for each service by an HTTP request. For that `JupyterHub.start` hands `start_service` the TLS context
# of its own web server, and a server's context cannot open a client's connection: each attempt fails in the hub itself.
# So the hub ends with "Cannot connect to … service" although the service answers any client with a certificate of the
# hub. With an http URL the same service is found at once.
#
# Seen: https://: the hub runs: False | the service answers: True | http://: the hub runs: True | the service answers: True
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jupyterhub==6.1.1
cd "$folder"
cat > service.py <<'PY'
import os
import ssl
from urllib.parse import urlsplit

from jupyterhub.utils import make_ssl_context
from tornado import httpserver, ioloop, web

url = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
key, certificate, ca = (os.environ[f"JUPYTERHUB_SSL_{name}"] for name in ("KEYFILE", "CERTFILE", "CLIENT_CA"))
tls = make_ssl_context(key, certificate, cafile=ca, purpose=ssl.Purpose.CLIENT_AUTH) if url.scheme == "https" else None
# It answers 404, whatever it is asked.
httpserver.HTTPServer(web.Application([]), ssl_options=tls).listen(url.port, "127.0.0.1")
# A hub that gives up does not end its services.
hub = os.getppid()
ioloop.PeriodicCallback(lambda: os.getppid() == hub or os._exit(0), 200).start()
ioloop.IOLoop.current().start()
PY
cat > jupyterhub_config.py <<'PY'
import os
import sys

from jupyterhub.proxy import Proxy


class Routes(Proxy):
    """Routes in memory; nothing is served."""

    table = {}

    async def add_route(self, routespec, target, data):
        self.table[routespec] = {"routespec": routespec, "target": target, "data": data}

    async def delete_route(self, routespec):
        self.table.pop(routespec, None)

    async def get_all_routes(self):
        return self.table


c.JupyterHub.proxy_class = Routes
c.Proxy.should_start = False
c.JupyterHub.internal_ssl = True
c.JupyterHub.authenticator_class = "null"
c.JupyterHub.bind_url = "http://127.0.0.1:" + os.environ["PUBLIC"]
c.JupyterHub.hub_bind_url = "http://127.0.0.1:" + os.environ["HUB"]
c.JupyterHub.services = [
    {"name": "seen", "url": os.environ["SERVICE"], "command": [sys.executable, "service.py"]},
]
PY
PYTHONPATH=$here venv/bin/python -B - <<'PY'
import os
import ssl
import time
import urllib.error
import urllib.request

from running import end, free_port, judge, start


def answers(url):
    """Return True if the service answers a client with the hub's certificate."""
    own = "internal-ssl/hub-internal/hub-internal"
    try:
        context = ssl.create_default_context(cafile="internal-ssl/hub-ca_trust.crt")
        context.load_cert_chain(f"{own}.crt", f"{own}.key")
        urllib.request.urlopen(url, context=context)
    except urllib.error.HTTPError as answer:
        return answer.code == 404
    except OSError:
        return False


def run(scheme):
    """Return True if the hub gets ready, True if the service answers, and True if the hub's own TLS keeps it from that."""
    ports = {"PUBLIC": free_port(), "HUB": free_port()}
    variables = {name: str(port) for name, port in ports.items()}
    variables["SERVICE"] = f"{scheme}://127.0.0.1:{free_port()}"
    os.environ.update(variables)
    hub = start("venv/bin/jupyterhub", log=f"{scheme}.log")
    ready, answered, deadline = False, False, time.monotonic() + 120
    while hub.poll() is None and not (ready and answered) and time.monotonic() < deadline:
        time.sleep(0.2)
        ready = b"JupyterHub is now running" in open(f"{scheme}.log", "rb").read()
        answered = answered or answers(variables["SERVICE"])
    end(hub)
    said = open(f"{scheme}.log", errors="replace").read()
    return ready, answered, "PROTOCOL_TLS_SERVER context" in said


found = run("https"), run("http")
for scheme, (ready, answered, refused) in zip(("https://", "http://"), found):
    print(f"{scheme}: the hub runs: {ready} | the service answers: {answered} | refused by the hub's own TLS: {refused}")
judge(found, ((False, True, True), (True, True, False)))
PY
