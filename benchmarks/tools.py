"""The programs that take part in a run, and their versions."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass

from benchmarks.programs import Tool
from benchmarks.roster import ROSTER
from kvproxy.testing.servers import RedisServer, find_traefik
from kvproxy.testing.servers.consul import find_consul
from kvproxy.testing.servers.etcd import find_etcd


@dataclass(frozen=True)
class Tools:
    """Programs of a run.

    wrk, nginx: of the load measurements. peer_python, chp: the peer's Python, and configurable-http-proxy; empty to
    leave them out.
    """

    wrk: Tool
    nginx: Tool
    peer_python: str = ""
    chp: str = ""

    def python(self, contestant: str) -> str:
        """The interpreter whose environment holds the contestant."""
        return self.peer_python if contestant == "peer" else sys.executable


def versions(tools: Tools, contestants: list[str]) -> dict[str, str]:
    """Versions of everything that is measured."""
    found = own_versions({ROSTER[name].store for name in contestants})
    found["nginx"] = _number([tools.nginx.path, "-v"], tools.nginx)
    found["wrk"] = _number([tools.wrk.path, "-v"], tools.wrk)
    if "peer" in contestants:
        found |= package_versions(tools.peer_python, ["jupyterhub-traefik-proxy"])
    return found | (chp_versions(tools.chp) if "chp" in contestants else {})


def chp_versions(chp: str) -> dict[str, str]:
    """Versions of configurable-http-proxy at this path, and of what it runs on."""
    return {
        "configurable-http-proxy": _words([chp, "--version"], 0),
        "node": _words(["node", "--version"], 0),
    }


def own_versions(stores: set[str]) -> dict[str, str]:
    """Versions of kvproxy, of what it is made of, and of stores of these kinds."""
    names = ["kvproxy", "jupyterhub", "redis", "aiohttp"]
    found = {"python": sys.version.split()[0], **package_versions(sys.executable, names)}
    found["traefik"] = _words([str(find_traefik()), "version"], 1)
    return found | _stores(stores)


def _stores(kinds: set[str]) -> dict[str, str]:
    found = {}
    if "redis" in kinds:
        with RedisServer() as server:
            info = str(server.command("INFO", "server"))
        told = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
        found[told.get("server_name", "redis") + "-server"] = told.get("valkey_version") or told["redis_version"]
    if "etcd" in kinds:
        found["etcd"] = _number([str(find_etcd()), "--version"])
    if "consul" in kinds:
        found["consul"] = _number([str(find_consul()), "version"])
    return found


def _number(command: list[str], tool: Tool | None = None) -> str:
    """The first number with dots that a program says about itself, on whichever stream and with whichever status."""
    environment = tool.environment if tool else None
    told = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    number = re.search(r"\d+(\.\d+)+", told)
    return number.group() if number else "unknown"


def package_versions(python: str, names: list[str]) -> dict[str, str]:
    """Versions of packages in that interpreter's environment."""
    code = "import json, sys; from importlib import metadata as m; "
    code += "print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    return dict(json.loads(subprocess.check_output([python, "-c", code, *names], text=True)))


def _words(command: list[str], index: int) -> str:
    return subprocess.check_output(command, text=True).split()[index]
