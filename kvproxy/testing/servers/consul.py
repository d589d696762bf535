"""A private Consul server on the loopback interface."""

from __future__ import annotations

import base64
import json
import os
import shutil
import tempfile
import urllib.request
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kvproxy.testing.servers.base import Member, Server
from kvproxy.testing.servers.debian import debian_program
from kvproxy.testing.servers.ports import free_port
from kvproxy.testing.servers.programs import Program, ServerError, fetch
from kvproxy.testing.servers.tls import Certificates

CONSUL_VARIABLE: Final = "KVPROXY_CONSUL"
_START_SECONDS: Final = 30
#: The last Debian that carries Consul (1.8.7).
_SUITE: Final = "bullseye"


def find_consul() -> Path:
    """The program of Consul.

    Looks at the variable KVPROXY_CONSUL, then for consul on PATH, and unpacks Debian's package at last. Raises
    ServerError saying how to get one.
    """
    if named := os.environ.get(CONSUL_VARIABLE):
        if path := shutil.which(named):
            return Path(path)
        raise ServerError(f"The variable {CONSUL_VARIABLE} names {named}, which is not a program.")
    if path := shutil.which("consul"):
        return Path(path)
    try:
        return debian_program("consul", _SUITE, "usr/bin/consul")
    except ServerError as error:
        raise ServerError(
            "No program of Consul was found. Put Consul's own release on PATH, or name it in the variable "
            f"{CONSUL_VARIABLE}. {error}"
        ) from None


class ConsulServer(Server):
    """A real server, which survives restarts and is removed by `close`; alone in its data centre unless told otherwise.

    ``put``, ``get`` and the like come with all rights.

    acl: switches access control on; a client without a token has no rights. `token` is that of the administrator.
    certificates: makes clients come by TLS, see `Certificates.make`; this class comes without, at a second port.
    client_certificate: whether they must show a certificate of the same authority.
    member: its part in a cluster, see `kvproxy.testing.servers.clusters`; one that is not among the members is an
        agent of a machine, which keeps nothing and asks the servers.
    token: the administrator's token, which is the same in a cluster; a new one if empty.
    """

    def __init__(
        self,
        *,
        acl: bool = False,
        certificates: Certificates | None = None,
        client_certificate: bool = False,
        member: Member | None = None,
        token: str = "",
    ):
        member = member or Member.alone()
        self.token = (token or str(uuid.uuid4())) if acl else ""
        self.host, self.port = member.host, free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="kvproxy-consul-"))
        self._tls = certificates is not None
        admin = free_port() if self._tls else self.port
        self._admin = f"http://{self.host}:{admin}/v1/"
        self._raft = free_port()
        settings: dict[str, Any] = {
            **_part(member),
            "data_dir": str(self.directory / "data"),
            "bind_addr": self.host,
            "client_addr": self.host,
            "ports": {
                "http": admin,
                "https": self.port if self._tls else -1,
                "server": self._raft,
                "serf_lan": member.port,
                "serf_wan": -1,
                "dns": -1,
                "grpc": -1,
            },
            "performance": {"raft_multiplier": 1},
            "disable_update_check": True,
            "log_level": "WARN",
        }
        if acl:
            tokens = {"master": self.token, "agent": self.token}
            settings["acl"] = {"enabled": True, "default_policy": "deny", "tokens": tokens}
        if certificates is not None:
            settings |= {
                "cert_file": str(certificates.server_certificate.resolve()),
                "key_file": str(certificates.server_key.resolve()),
                "ca_file": str(certificates.ca.resolve()),
                "verify_incoming_https": client_certificate,
            }
        file = os.open(self.directory / "consul.json", os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(file, "w") as stream:
            json.dump(settings, stream)
        command = [*member.before, str(find_consul()), "agent", "-config-file", "consul.json"]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("CONSUL_")}
        super().__init__(Program(command, self.directory / "consul.log", clean), self.directory)

    @property
    def endpoint(self) -> str:
        """``host:port`` for clients."""
        return f"localhost:{self.port}" if self._tls else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL for clients, without any token."""
        return f"{'https' if self._tls else 'http'}://{self.endpoint}"

    def start(self) -> None:
        """Start it and wait until it takes writes. Raises ServerError with its last log lines if it does not."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Start it without waiting, as it takes no writes before most of its cluster is there."""
        self._program.start()

    def wait(self) -> None:
        """Wait until it takes writes. Raises ServerError with its last log lines if it does not."""
        self._program.wait_ready(self._writable, _START_SECONDS)

    def leads(self) -> bool:
        """True if it holds itself for its cluster's leader; False if it does not answer."""
        try:
            status, said = fetch(f"{self._admin}status/leader", 1)
            return status == 200 and bool(json.loads(said) == f"{self.host}:{self._raft}")
        except (OSError, ValueError):
            return False

    def request(self, method: str, path: str, body: bytes | None = None) -> Any:
        """One request to the HTTP API, as administrator; None for 404. Raises OSError with Consul's own message."""
        headers = {"X-Consul-Token": self.token} if self.token else {}
        request = urllib.request.Request(self._admin + path, body, headers, method=method)  # noqa: S310
        status, said = fetch(request, 10)
        if status == 404:
            return None
        if status != 200:
            raise OSError(said.decode())
        return json.loads(said)

    def own(self) -> dict[str, str]:
        """All keys and values as this server has them, whatever the others of its cluster know."""
        return self._pairs("kv/?recurse&stale")

    def put(self, key: str, value: str) -> None:
        """Set a key."""
        self._transact(Verb="set", Key=key, Value=base64.b64encode(value.encode()).decode())

    def get(self, key: str) -> str | None:
        """The value of a key, None if there is none."""
        return self.all(key).get(key)

    def all(self, prefix: str = "") -> dict[str, str]:
        """All keys that begin so, and their values."""
        return {key: value for key, value in self._pairs("kv/?recurse").items() if key.startswith(prefix)}

    def delete(self, key: str) -> None:
        """Remove a key."""
        self._transact(Verb="delete", Key=key)

    def clear(self) -> None:
        """Remove all keys."""
        self.request("DELETE", "kv/?recurse")

    def indices(self) -> set[int]:
        """Consul's own numbers of the changes that the keys are from; all keys of a transaction share one."""
        return {int(item["ModifyIndex"]) for item in self.request("GET", "kv/?recurse") or []}

    def add_token(self, rules: str) -> str:
        """A new token that may do what these rules of a policy say."""
        policy = {"Name": uuid.uuid4().hex, "Rules": rules}
        name = self.request("PUT", "acl/policy", json.dumps(policy).encode())["Name"]
        return str(self.request("PUT", "acl/token", json.dumps({"Policies": [{"Name": name}]}).encode())["SecretID"])

    def change_rights(self, token: str, rules: str) -> None:
        """Let a token do what these rules of a policy say, and nothing else."""
        tokens: list[Mapping[str, Any]] = self.request("GET", "acl/tokens")
        accessor = next(t["AccessorID"] for t in tokens if self._secret(t["AccessorID"]) == token)
        policy = {"Name": uuid.uuid4().hex, "Rules": rules}
        name = self.request("PUT", "acl/policy", json.dumps(policy).encode())["Name"]
        self.request("PUT", f"acl/token/{accessor}", json.dumps({"Policies": [{"Name": name}]}).encode())

    def _transact(self, **operation: str) -> None:
        # Not by the key's own URL, in which two slashes in a row become one.
        self.request("PUT", "txn", json.dumps([{"KV": operation}]).encode())

    def _pairs(self, path: str) -> dict[str, str]:
        found = self.request("GET", path) or []
        return {item["Key"]: base64.b64decode(item["Value"] or "").decode() for item in found}

    def _secret(self, accessor: str) -> str:
        return str(self.request("GET", f"acl/token/{accessor}")["SecretID"])

    def _writable(self) -> bool:
        # Access control is ready a moment after a leader is there, and policies when all servers are known to be new
        # enough: only a write with rights tells, and the list of policies.
        try:
            if self.token:
                self.request("GET", "acl/policies")
            self.put("kvproxy-testing", "1")
            self.delete("kvproxy-testing")
        except OSError:
            return False
        return True


def _part(member: Member) -> dict[str, Any]:
    """The settings of one member of a cluster."""
    serves = member.name in member.members
    others = [address for address in member.members.values() if address != member.address]
    part: dict[str, Any] = {"server": serves, "node_name": member.name, "retry_join": others, "retry_interval": "1s"}
    return part | ({"bootstrap_expect": len(member.members)} if serves else {})
