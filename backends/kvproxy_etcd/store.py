"""Routes in etcd, through its JSON gateway.

Configuration and records are one key a value, below the two roots. One transaction of kvproxy is one of etcd's, which
wakes Traefik once by itself.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, Final

from kvproxy import (
    Capabilities,
    ConfigurationError,
    Operation,
    Snapshot,
    Space,
    Store,
    StoreAuthError,
    StoreError,
    StoreUnavailableError,
    StoreWriteRefusedError,
    Transaction,
)
from kvproxy.store.anonymous import open_door
from kvproxy.store.connection import HttpConnection
from kvproxy.store.http import FENCE, Answer, HttpClient, moved, strange, time_of

from .explain import explain, passing
from .messages import below, code_of, encode, found_in, range_of, token_died

_NOT_ENABLED: Final = 9
_OLDEST: Final = (3, 4)
#: Writes at once at most to bring a server that has lost its data to the revision that it had before.
_CATCH_UP: Final = 2000
#: Below each root, a key that is never set.
_PROBE: Final = "kvproxy-probe-of-rights"
#: Errors in reading an answer that is not etcd's.
_STRANGE: Final = (KeyError, IndexError, TypeError, AttributeError, ValueError)
#: Before this version etcd checks the token of a request for a new token, and Traefik's client (etcd's own, 3.6) sends
#: the dead one with it (etcd-io/etcd#12385, seen with Traefik 3.7).
_LOGS_IN_AGAIN: Final = (3, 5)


class EtcdStore(Store):
    """A :class:`~kvproxy.store.base.Store` in etcd.

    A member that is paused, or that the others do not hear, may pass on a transaction long after it has been sent again
    elsewhere, and undo what has been written since; and a cluster may be emptied, or restored from old data. So each
    transaction holds only if the fence, a key of its own, has not been changed since this store saw it, and changes it.

    Args:
        connection: where etcd is.
        traefik_root: root of the configuration, without slashes at its ends.
        jupyterhub_root: root of the records, likewise.
    """

    #: etcd's defaults are 128 operations (--max-txn-ops), the fence included, and 1.5 MiB (--max-request-bytes), roots
    #: included.
    capabilities = Capabilities(max_operations=127, max_bytes=1024 * 1024, fenced=True, whole_reads=True)

    def __init__(
        self,
        connection: HttpConnection,
        traefik_root: str,
        jupyterhub_root: str,
        traefik: HttpConnection | None = None,
    ) -> None:
        self._connection = connection
        self._traefik = traefik
        self._http = HttpClient(connection, passing=lambda answer: passing(answer, connection))
        self._roots = {Space.CONFIG: traefik_root + "/", Space.RECORDS: jupyterhub_root + "/routes/"}
        self._claim = jupyterhub_root + "/hub"
        # etcd's own revision after the last transaction.
        self._highest = 0
        self._fence_key = self._roots[Space.RECORDS] + FENCE
        # etcd's revision in which the fence was changed last; 0 if there is none, None if that is not known.
        self._fence: int | None = None
        # True if a transaction may be under way that is no longer waited for; a read fences it off.
        self._unsure = False
        self._token: str | None = None

    async def check(self) -> list[str]:
        """See :meth:`kvproxy.store.base.Store.check`: version, credentials, rights to read and write, the members."""
        answer = await self._http.request("GET", "/version")
        said = answer.json()
        version = said.get("etcdserver") if isinstance(said, dict) else None
        if answer.status == 200 and not isinstance(version, str):
            raise StoreError(f"{self._connection} does not answer as etcd does; correct etcd_url.")
        if not isinstance(version, str):
            raise explain(answer, self._connection, self._roots.values())
        number = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
        if number < _OLDEST:
            raise ConfigurationError(f"{self._connection} is version {version}; kvproxy needs etcd 3.4 or later.")
        self._token = None
        warnings = []
        try:
            await self._call("kv/txn", self._probe_of_rights())
        except StoreWriteRefusedError as error:
            warnings.append(f"{error} Routes that are there are served; new ones have to wait.")
        warnings += await self._look_at_members()
        unused = " and etcd_username is not used" if self._connection.username and not self._token else ""
        close = f"Its authentication is off{unused}: switch it on with 'etcdctl auth enable' (docs/how-to/etcd.md)."
        warnings += await open_door(self._connection, "POST", "/v3/kv/txn", self._probe_of_rights(), close)
        if self._token and number < _LOGS_IN_AGAIN:
            warnings.append(
                f"{self._connection} is version {version} with authentication. Traefik cannot log in there again when "
                "its token has died, after a restart of etcd or some minutes in which no route changes, and serves no "
                "new routes from then on. Use etcd 3.5 or later, or tokens that live: --auth-token=jwt,…,ttl=8760h."
            )
        if self._traefik is not None:
            await self._try_as_traefik(self._traefik)
        return warnings

    async def _try_as_traefik(self, traefik: HttpConnection) -> None:
        """Read once as the user that Traefik has for itself: refused is a start that would wait for it in vain."""
        reader = EtcdStore(traefik, self._roots[Space.CONFIG].rstrip("/"), "unused")
        try:
            await reader._call("kv/range", self._range(Space.CONFIG, limit="1")["requestRange"])
        except StoreAuthError:
            raise StoreAuthError(
                f"{traefik} does not let Traefik's user read what is below {self._roots[Space.CONFIG]!r}; check "
                "etcd_traefik_username, etcd_traefik_password and its role."
            ) from None
        finally:
            await reader.aclose()

    async def _look_at_members(self) -> list[str]:
        """Warnings about endpoints that cannot help, if there are others.

        Raises:
            ConfigurationError: if they are not all of one cluster, as the table would seem empty at some.
        """
        if len(self._connection.endpoints) == 1:
            return []
        headers = {"Authorization": self._token} if self._token else {}
        answers = await self._http.ask_each("POST", "/v3/maintenance/status", {}, headers)
        said = {answer.endpoint: answer.json() for answer in answers if isinstance(answer, Answer)}
        clusters = {
            endpoint: status["header"]["cluster_id"]
            for endpoint, status in said.items()
            if isinstance(status, dict) and "cluster_id" in status.get("header", {})
        }
        if len(set(clusters.values())) > 1:
            named = ", ".join(f"{endpoint} of {cluster}" for endpoint, cluster in clusters.items())
            raise ConfigurationError(f"etcd_url names members of different clusters ({named}); give those of one.")
        return [f"{answer} The others are asked." for answer in answers if isinstance(answer, StoreUnavailableError)]

    def in_clear_text(self) -> list[str]:
        """See :meth:`kvproxy.store.base.Store.in_clear_text`."""
        return self._connection.in_clear_text()

    async def snapshot(self) -> Snapshot:
        """See :meth:`kvproxy.store.base.Store.snapshot`: one transaction, so both spaces are of one moment."""
        shut = [self._move_of_fence()] if self._unsure else []
        try:
            answer = await self._call("kv/txn", {"success": [*shut, *map(self._range, self._roots)]})
        except StoreWriteRefusedError:
            if shut:
                raise
            answer = {"responses": await self._ranges()}
        try:
            found = [found_in(part) for part in answer["responses"][len(shut) :]]
            config, records = (below(root, pairs) for root, pairs in zip(self._roots.values(), found, strict=True))
            self._fence, _ = self._fence_in(found[1])
            self._unsure = False
        except UnicodeDecodeError:
            raise StoreError(
                f"{self._connection} holds a key or value below kvproxy's roots that is not UTF-8 text; remove it."
            ) from None
        except _STRANGE:
            raise strange(self._connection) from None
        records.pop(FENCE, None)
        return Snapshot(config, records)

    async def _ranges(self) -> Sequence[dict[str, Any]]:
        """Both spaces as of one moment, without a transaction: a full etcd 3.5.1 refuses those that only read, too."""
        at: dict[str, Any] = {}
        found = []
        for space in self._roots:
            answer = await self._call("kv/range", self._range(space, **at)["requestRange"])
            try:
                at = at or {"revision": answer["header"]["revision"]}
            except _STRANGE:
                raise strange(self._connection) from None
            found.append({"response_range": answer})
        return found

    async def get(self, key: str) -> str | None:
        """See :meth:`kvproxy.store.base.Store.get`."""
        return await self._value(self._roots[Space.CONFIG] + key)

    async def _value(self, key: str) -> str | None:
        answer = await self._call("kv/range", {"key": encode(key)})
        try:
            return below("", answer.get("kvs", [])).get(key)
        except _STRANGE:
            raise strange(self._connection) from None

    async def apply(self, transaction: Transaction) -> None:
        """See :meth:`kvproxy.store.base.Store.apply`: one transaction, behind the fence."""
        expected, self._fence = self._fence, None
        if expected is None:
            expected = await self._look_at_fence()
        before, self._unsure = self._unsure, True
        move = self._move_of_fence()
        unmoved = {"key": encode(self._fence_key), "target": "MOD", "mod_revision": str(expected)}
        operations = [*map(self._operation, transaction.operations), move]
        request = {"compare": [unmoved], "success": operations, "failure": [range_of(self._fence_key)]}
        try:
            answer = await self._call("kv/txn", request)
        except StoreWriteRefusedError as error:
            self._unsure = before or not error.certain
            raise
        self._unsure = False
        self._fence = self._fence_after(answer, move["requestPut"]["value"])
        await self._catch_up(self._fence)

    def _move_of_fence(self) -> dict[str, Any]:
        return {"requestPut": {"key": encode(self._fence_key), "value": encode(secrets.token_hex(8))}}

    async def _look_at_fence(self) -> int:
        answer = await self._call("kv/range", {"key": encode(self._fence_key)})
        try:
            return self._fence_in(answer.get("kvs", []))[0]
        except _STRANGE:
            raise strange(self._connection) from None

    def _fence_after(self, answer: Any, mark: str) -> int:
        """The state of the fence after a transaction that sets it to that mark.

        Raises:
            StoreChangedError: if it was not where this store had seen it, so that nothing has been applied.
        """
        try:
            if answer.get("succeeded"):
                return int(answer["header"]["revision"])
            revision, found = self._fence_in(found_in(answer["responses"][0]))
        except _STRANGE:
            raise strange(self._connection) from None
        # If it is there all the same, this very transaction was sent twice, as the answer to the first was lost.
        if found != mark:
            raise moved(self._connection)
        return revision

    async def _catch_up(self, revision: int) -> None:
        """Bring a server that has lost its data, or has old ones, to the revision that it had before.

        A watch goes on at the revision that it saw last (etcd's client 3.6, `serveSubstream`). Until such
        a server has come so far, Traefik would see no change; after that, it sees the next one.
        """
        missing = min(self._highest - revision, _CATCH_UP)
        self._highest = max(self._highest, revision)
        for _ in range(missing):
            await self._call("kv/put", {"key": encode(self._claim + "-revision"), "value": ""})

    async def write_lease(self, text: str | None) -> None:
        """See :meth:`kvproxy.store.base.Store.write_lease`."""
        key = {"key": encode(self._claim)}
        if text is None:
            await self._call("kv/deleterange", key)
        else:
            await self._call("kv/put", {**key, "value": encode(text)})

    async def read_lease(self) -> str | None:
        """See :meth:`kvproxy.store.base.Store.read_lease`."""
        return await self._value(self._claim)

    async def server_time(self) -> float | None:
        """See :meth:`kvproxy.store.base.Store.server_time`."""
        return time_of((await self._http.request("GET", "/version")).date)

    async def aclose(self) -> None:
        """See :meth:`kvproxy.store.base.Store.aclose`."""
        await self._http.aclose()

    def _range(self, space: Space, **options: Any) -> dict[str, Any]:
        start = self._roots[space]
        # Up to, and without, the first text that begins with the character after the slash.
        return range_of(start, range_end=encode(start[:-1] + "0"), **options)

    def _fence_in(self, found: Sequence[dict[str, Any]]) -> tuple[int, str | None]:
        """The revision of the fence's last change, and its value as etcd has it: 0 and None if there is none."""
        key = encode(self._fence_key)
        fence: dict[str, Any] = next((pair for pair in found if pair["key"] == key), {})
        return int(fence.get("mod_revision", fence.get("modRevision", 0))), fence.get("value")

    def _probe_of_rights(self) -> dict[str, Any]:
        """A transaction that needs all the rights and does nothing: its condition never holds.

        etcd looks at the rights for both branches of a transaction first (``CheckTxnAuth``, 3.4 to 3.6).
        """
        key = encode(self._roots[Space.RECORDS] + _PROBE)
        never = {"key": key, "target": "VERSION", "result": "LESS", "version": 0}
        reads = [self._range(space, count_only=True) for space in self._roots]
        writes = [self._operation(Operation(space, _PROBE, "")) for space in self._roots]
        return {"compare": [never], "success": reads + writes}

    def _operation(self, operation: Operation) -> dict[str, Any]:
        key = encode(self._roots[operation.space] + operation.key)
        if operation.value is None:
            return {"requestDeleteRange": {"key": key}}
        return {"requestPut": {"key": key, "value": encode(operation.value)}}

    async def _call(self, path: str, body: dict[str, Any]) -> Any:
        """One request to the gateway, with a token that lives."""
        for last in (False, True):
            if self._token is None:
                self._token = await self._log_in()
            headers = {"Authorization": self._token} if self._token else {}
            answer = await self._http.request("POST", f"/v3/{path}", body, headers)
            if answer.status == 200:
                return answer.json()
            if last or not self._connection.username or not token_died(answer):
                break
            self._token = None
        raise explain(answer, self._connection, self._roots.values())

    async def _log_in(self) -> str:
        """A new token; empty if there is no need for one."""
        connection = self._connection
        if not connection.username:
            return ""
        login = {"name": connection.username, "password": connection.password}
        answer = await self._http.request("POST", "/v3/auth/authenticate", login)
        said = answer.json()
        if answer.status == 200 and isinstance(said, dict) and said.get("token"):
            return str(said["token"])
        if code_of(answer) == _NOT_ENABLED:
            return ""
        raise explain(answer, self._connection, self._roots.values())
