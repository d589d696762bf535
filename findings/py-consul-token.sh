#!/bin/sh
# py-consul 1.8.0: the token that a client is made with is not the token that it sends.
#
# Consul(token=…) is meant for all calls. Transactions go without: txn.put sends no token, and has no argument for one.
# Where anonymous clients may do nothing, the same client can write a key by kv.put and not by txn.put. And where the
# variable CONSUL_HTTP_TOKEN is set, it wins over the argument, the other way round than in other clients.
# The server here only notes the header X-Consul-Token of what it is asked.
#
# Seen:
#   kv.put                               given
#   session.create                       given
#   txn.put                              None
#   kv.put, CONSUL_HTTP_TOKEN=inherited  inherited
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet py-consul==1.8.0
cd "$folder"
PYTHONPATH=$here venv/bin/python -B - <<'PY'
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import consul

from running import judge

tokens = []


class Handler(BaseHTTPRequestHandler):
    def do_PUT(self):
        tokens.append(self.headers["X-Consul-Token"])
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answers = {"kv": b"true", "session": b'{"ID": "1"}', "txn": b'{"Results": [], "Errors": null}'}
        answer = answers[self.path.split("?")[0].split("/")[2]]
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_): ...


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ.pop("CONSUL_HTTP_TOKEN", None)
client = consul.Consul(port=server.server_port, token="given")
client.kv.put("key", "value")
client.session.create()
client.txn.put([{"KV": {"Verb": "set", "Key": "key", "Value": "dmFsdWU="}}])
os.environ["CONSUL_HTTP_TOKEN"] = "inherited"
consul.Consul(port=server.server_port, token="given").kv.put("key", "value")
names = ["kv.put", "session.create", "txn.put", "kv.put, CONSUL_HTTP_TOKEN=inherited"]
for name, token in zip(names, tokens, strict=True):
    print(f"{name:36} {token}")
judge(tokens, ["given", "given", None, "inherited"])
PY
