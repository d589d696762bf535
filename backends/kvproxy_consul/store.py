"""Routes in Consul's key-value store.

Configuration and records are one key a value, below the two roots. One transaction of kvproxy is one of Consul's, which
wakes Traefik once by itself.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from kvproxy.errors import StoreAuthError, StoreError, StoreUnavailable
from kvproxy.http_connection import HttpConnection
from kvproxy.http_store import Answer, HttpClient, wrong_protocol
from kvproxy.store import Capabilities, Operation, Snapshot, Space, Store, Transaction

from .connection import CONSUL

#: Below each root, a key that nobody ever sets.
_PROBE: Final = "kvproxy-probe-of-rights"

Request: TypeAlias = dict[str, dict[str, Any]]


class ConsulStore(Store):
    """A :class:`~kvproxy.store.Store` in Consul.

    Consul leaves out of an answer what the token may not read, without a word, and a token that it may not write with
    is refused. As the right to write includes that to read, each read comes with two deletions of keys that never
    exist: they change nothing, wake nobody, and fail unless all that is below the roots is to be seen. They also take
    the read through the cluster's leader and log, so that it knows of everything written before.

    Args:
        connection: where Consul is.
        traefik_root: root of the configuration, without slashes at its ends.
        jupyterhub_root: root of the records, likewise.
    """

    #: Consul takes 64 operations (128 from 1.14 on) and 512 KiB of JSON, in which values are a third larger (base64).
    capabilities = Capabilities(max_operations=64, max_bytes=360 * 1024)

    def __init__(self, connection: HttpConnection, traefik_root: str, jupyterhub_root: str) -> None:
        self._connection = connection
        headers = {"X-Consul-Token": connection.token} if connection.token else {}
        self._http = HttpClient(connection, headers, authorization=True)
        self._roots = {Space.CONFIG: traefik_root + "/", Space.RECORDS: jupyterhub_root + "/routes/"}
        self._claim = jupyterhub_root + "/hub"

    async def check(self) -> list[str]:
        """See :meth:`kvproxy.store.Store.check`: whether there is a leader, and the right to read and write."""
        await self._transact(self._probes())
        return []

    async def list(self) -> Snapshot:
        """See :meth:`kvproxy.store.Store.list`: one transaction, so that both spaces are of the same moment."""
        return await self._found([*(_kv("get-tree", root) for root in self._roots.values()), *self._probes()])

    async def get(self, key: str) -> str | None:
        """See :meth:`kvproxy.store.Store.get`."""
        # Unlike "get", "get-tree" is no error if there is nothing. Without probes it writes nothing to Consul's log; a
        # missing right looks like a missing key, which makes kvproxy read everything, and that tells.
        found = await self._found([_kv("get-tree", self._roots[Space.CONFIG] + key)])
        return found.config.get(key)

    async def _found(self, operations: Sequence[Request]) -> Snapshot:
        found: dict[Space, dict[str, str]] = {space: {} for space in self._roots}
        for key, value in (await self._pairs(operations)).items():
            for space, root in self._roots.items():
                if key.startswith(root):
                    found[space][key[len(root) :]] = value
        return Snapshot(found[Space.CONFIG], found[Space.RECORDS])

    async def _pairs(self, operations: Sequence[Request]) -> dict[str, str]:
        """What one transaction has read."""
        try:
            results = [result["KV"] for result in await self._transact(operations)]
            return {found["Key"]: base64.b64decode(found["Value"] or "").decode() for found in results}
        except (KeyError, TypeError):
            raise StoreError(f"{self._connection} gives an answer that kvproxy does not understand.") from None
        except UnicodeDecodeError:
            raise StoreError(
                f"{self._connection} holds a value below kvproxy's roots that is not UTF-8 text; remove it."
            ) from None

    async def apply(self, transaction: Transaction) -> None:
        """See :meth:`kvproxy.store.Store.apply`."""
        await self._transact([self._operation(operation) for operation in transaction.operations])

    async def claim(self, text: str | None) -> None:
        """See :meth:`kvproxy.store.Store.claim`."""
        await self._transact([_delete(self._claim) if text is None else _set(self._claim, text)])

    async def claimed(self) -> str | None:
        """See :meth:`kvproxy.store.Store.claimed`."""
        found = await self._pairs([_kv("get-tree", self._claim)])
        return found.get(self._claim)

    async def aclose(self) -> None:
        """See :meth:`kvproxy.store.Store.aclose`."""
        await self._http.aclose()

    def _probes(self) -> Sequence[Request]:
        return [_delete(root + _PROBE) for root in self._roots.values()]

    def _operation(self, operation: Operation) -> Request:
        key = self._roots[operation.space] + operation.key
        return _delete(key) if operation.value is None else _set(key, operation.value)

    async def _transact(self, operations: Sequence[Request]) -> Any:
        """The results of one transaction."""
        answer = await self._http.request("PUT", "/v1/txn", operations)
        said = answer.json()
        if answer.status != 200 or not isinstance(said, dict) or "Results" not in said or said.get("Errors"):
            raise self._error(answer)
        return said.get("Results") or []

    def _error(self, answer: Answer) -> StoreError:
        """What an answer that is no success means."""
        where, text = self._connection.at(answer.endpoint), self._connection.redact(_message(answer))
        if "ACL not found" in text:
            return StoreAuthError(f"{where} does not know the token; check consul_token.")
        if answer.status == 403 or "Permission denied" in text:
            whose = "this token" if self._connection.token else "somebody without a token (set consul_token)"
            return StoreAuthError(
                f"{where} does not let {whose} read and write all keys below "
                f"{' and '.join(map(repr, self._roots.values()))}; give its policy these as key_prefix with 'write'."
            )
        if answer.status == 401:
            return StoreAuthError(f"{where} refuses the credentials; check {CONSUL.login}.")
        if answer.status in {429, 500, 502, 503, 504}:
            return StoreUnavailable(f"{where} cannot help at the moment ({text or answer.status}).")
        if answer.status in {200, 404, 405}:
            return StoreError(f"{where} does not answer as Consul does (HTTP {answer.status}); correct consul_url.")
        return wrong_protocol(self._connection, answer) or StoreError(
            f"{where} answers: {text or 'nothing'} (HTTP {answer.status})."
        )


def _delete(key: str) -> Request:
    return _kv("delete", key)


def _set(key: str, value: str) -> Request:
    return _kv("set", key, Value=base64.b64encode(value.encode()).decode())


def _kv(verb: str, key: str, **more: Any) -> Request:
    return {"KV": {"Verb": verb, "Key": key, **more}}


def _message(answer: Answer) -> str:
    """Consul's own words: plain text, or a list of errors if a transaction failed."""
    said = answer.json()
    if isinstance(said, dict) and said.get("Errors"):
        return "; ".join(dict.fromkeys(str(error.get("What")) for error in said["Errors"])).rstrip(".")
    return answer.text
