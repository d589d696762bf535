"""Tells what it was asked, and answers with the status that a path below /status/ names.

It runs on the standard library's HTTP server, at the port that its argument names.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        named = self.path.partition("/status/")[2]
        told = {"method": self.command, "target": self.path, "body": body, "prefix": self.headers["X-Forwarded-Prefix"]}
        answer = json.dumps(told).encode()
        self.send_response(int(named or 200))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
