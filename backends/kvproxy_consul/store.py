"""Routes in Consul's key-value store.

Configuration and records are one key a value, below the two roots. One transaction of kvproxy is one of Consul's, which
wakes Traefik once by itself.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from kvproxy import (
    Capabilities,
    Operation,
    Snapshot,
    Space,
    Store,
    StoreAuthError,
    StoreError,
    StoreUnavailableError,
    Transaction,
)
from kvproxy.store.anonymous import open_door
from kvproxy.store.connection import HttpConnection
from kvproxy.store.http import FENCE, Answer, HttpClient, moved, strange, time_of, wrong_protocol

from .admission import UNKNOWN, Admission, Login
from .connection import CONSUL

#: Below each root, a key that is never set.
_PROBE: Final = "kvproxy-probe-of-rights"
#: The leader in a server's own opinion, which it gives at once, and its answer without a leader.
_LEADER: Final = "/v1/status/leader"
_NOBODY: Final = b'""'
#: HTTP status of an answer that may be another one later or elsewhere. Consul says 500 without a leader, but also if a
#: server that was asked on behalf of another refuses.
_PASSING: Final = {429, 500, 502, 503, 504}
#: Statuses of an answer after which nothing of a transaction is going to be applied: rolled back, too large, denied.
_CERTAIN: Final = {403, 409, 413}
_DENIED: Final = "Permission denied"
_REFUSALS: Final = (UNKNOWN, _DENIED)
_CLOSE: Final = (
    'Switch its access control on, acl { enabled = true, default_policy = "deny" }, and set consul_token '
    "(docs/how-to/consul.md)."
)
#: Consul's words about an operation "cas" whose key has changed.
_MOVED: Final = "index is stale"
#: Errors in reading an answer that is not Consul's.
_STRANGE: Final = (KeyError, IndexError, TypeError, AttributeError, ValueError)

Request: TypeAlias = dict[str, dict[str, Any]]


class ConsulStore(Store):
    """A :class:`~kvproxy.store.base.Store` in Consul.

    Consul leaves out of an answer what the token may not read, without a word, and a token that it may not write with
    is refused. As the right to write includes that to read, each read comes with two deletions of keys that never
    exist: they change nothing, wake no watcher, and fail unless all that is below the roots is to be seen. They also
    take the read through the cluster's leader and log, so that it knows of everything written before.

    An agent or a server that is paused or cut off may pass on a transaction long after it has been sent again, and undo
    what has been written since; and a cluster may be emptied, or restored from old data. So each transaction holds only
    if the fence, a key of its own, has not been changed since this store saw it, and changes it.

    Args:
        connection: where Consul is.
        traefik_root: root of the configuration, without slashes at its ends.
        jupyterhub_root: root of the records, likewise.
        warnings: what :meth:`check` is to say besides.
        admits: the token that Traefik comes with, if it is this store that makes it; else None.
        traefik: how Traefik comes otherwise, if with a token of its own; else None.
    """

    #: Consul takes 64 operations (128 from 1.14 on), the fence included, and 512 KiB of JSON, in which values are a
    #: third larger (base64).
    capabilities = Capabilities(max_operations=63, max_bytes=360 * 1024, fenced=True, whole_reads=True)

    def __init__(
        self,
        connection: HttpConnection,
        traefik_root: str,
        jupyterhub_root: str,
        warnings: Sequence[str] = (),
        admits: Login | None = None,
        traefik: HttpConnection | None = None,
    ) -> None:
        self._connection = connection
        self._traefik = traefik
        self._warnings = warnings
        headers = {"X-Consul-Token": connection.token} if connection.token else {}
        self._http = HttpClient(connection, headers, authorization=True, passing=self._passing)
        self._roots = {Space.CONFIG: traefik_root + "/", Space.RECORDS: jupyterhub_root + "/routes/"}
        self._claim = jupyterhub_root + "/hub"
        self._fence_key = self._roots[Space.RECORDS] + FENCE
        # Consul's index of the last change of the fence; 0 if there is none, None if that is not known.
        self._fence: int | None = None
        # True if a transaction may be under way that is no longer waited for; a read fences it off.
        self._unsure = False
        # True if there was a leader when one was last needed or looked for.
        self._led = True
        # True if Consul has known the hub's token.
        self._welcome = False
        self._admission = Admission(self._http, connection, admits, self._error) if admits else None

    async def check(self) -> list[str]:
        """See :meth:`kvproxy.store.base.Store.check`: whether there is a leader, and the right to read and write."""
        await self._transact(self._probes())
        await self.traefik_admitted()
        if self._traefik is not None:
            await self._try_as_traefik(self._traefik)
        warnings = [*self._warnings]
        warnings += await open_door(self._connection, "PUT", "/v1/txn", self._probes(), _CLOSE)
        if len(self._connection.endpoints) > 1:
            answers = await self._http.ask_each("GET", _LEADER)
            warnings += [
                f"{answer} The others are asked." for answer in answers if isinstance(answer, StoreUnavailableError)
            ]
        return warnings

    async def _try_as_traefik(self, traefik: HttpConnection) -> None:
        """Read once with the token that Traefik has for itself: refused is a start that would wait for it in vain."""
        root = self._roots[Space.CONFIG]
        reader = ConsulStore(traefik, root.rstrip("/"), "unused")
        try:
            answer = await reader._http.request("GET", f"/v1/kv/{quote(root)}kvproxy-probe-of-rights")
        finally:
            await reader.aclose()
        if answer.status == 403:
            raise StoreAuthError(
                f"{traefik.at(answer.endpoint)} does not let Traefik read what is below {root!r}; check "
                "consul_traefik_token and its policy."
            )

    def in_clear_text(self) -> list[str]:
        """See :meth:`kvproxy.store.base.Store.in_clear_text`."""
        return self._connection.in_clear_text()

    async def snapshot(self) -> Snapshot:
        """See :meth:`kvproxy.store.base.Store.snapshot`: one transaction, so both spaces are of one moment."""
        reads = [_kv("get-tree", root) for root in self._roots.values()]
        shut = [_set(self._fence_key, secrets.token_hex(8))] if self._unsure else []
        results = await self._transact([*shut, *reads, *self._probes()])
        self._fence, _ = self._fence_in(results)
        self._unsure = False
        found: dict[Space, dict[str, str]] = {space: {} for space in self._roots}
        try:
            for key, value in (_pair(result) for result in results):
                for space, root in self._roots.items():
                    if key.startswith(root):
                        found[space][key[len(root) :]] = value
        except UnicodeDecodeError:
            raise StoreError(
                f"{self._connection} holds a value below kvproxy's roots that is not UTF-8 text; remove it."
            ) from None
        except _STRANGE:
            raise strange(self._connection) from None
        found[Space.RECORDS].pop(FENCE, None)
        return Snapshot(found[Space.CONFIG], found[Space.RECORDS])

    async def get(self, key: str) -> str | None:
        """See :meth:`kvproxy.store.base.Store.get`."""
        # A missing right looks like a missing key, which makes kvproxy read everything, and that tells.
        return await self._value(self._roots[Space.CONFIG] + key)

    async def _value(self, key: str) -> str | None:
        """One value; without probes, so that nothing is written to Consul's log."""
        try:
            # Unlike "get", "get-tree" is no error if there is nothing.
            found = dict(_pair(result) for result in await self._transact([_kv("get-tree", key)]))
        except _STRANGE:
            raise strange(self._connection) from None
        return found.get(key)

    async def apply(self, transaction: Transaction) -> None:
        """See :meth:`kvproxy.store.base.Store.apply`: one transaction, behind the fence."""
        expected, self._fence = self._fence, None
        if expected is None:
            expected, _ = await self._look_at_fence()
        before, self._unsure = self._unsure, True
        mark = secrets.token_hex(8)
        fence = _set(self._fence_key, mark)
        fence["KV"] |= {"Verb": "cas", "Index": expected}
        operations = [self._operation(operation) for operation in transaction.operations]
        answer = await self._ask([*operations, fence])
        if answer.alone and answer.status in _CERTAIN:
            self._unsure = before
        refused = answer.status == 409 and _MOVED in _message(answer)
        index, found = await self._look_at_fence() if refused else self._fence_in(self._results(answer))
        self._unsure = False
        # If it is there all the same, this very transaction was sent twice, as the answer to the first was lost.
        if refused and found != mark:
            raise moved(self._connection)
        self._fence = index

    async def _look_at_fence(self) -> tuple[int, str | None]:
        return self._fence_in(await self._transact([_kv("get-tree", self._fence_key), *self._probes()]))

    def _fence_in(self, results: Sequence[Request]) -> tuple[int, str | None]:
        """The index of the fence's last change, and its value if it was read; 0 and None if there is none."""
        try:
            fence = [result["KV"] for result in results if result["KV"]["Key"] == self._fence_key]
            if not fence:
                return 0, None
            return int(fence[-1]["ModifyIndex"]), base64.b64decode(fence[-1]["Value"] or "").decode()
        except _STRANGE:
            raise strange(self._connection) from None

    async def write_lease(self, text: str | None) -> None:
        """See :meth:`kvproxy.store.base.Store.write_lease`."""
        await self._transact([_kv("delete", self._claim) if text is None else _set(self._claim, text)])

    async def read_lease(self) -> str | None:
        """See :meth:`kvproxy.store.base.Store.read_lease`."""
        return await self._value(self._claim)

    async def server_time(self) -> float | None:
        """See :meth:`kvproxy.store.base.Store.server_time`."""
        return time_of((await self._look_for_leader()).date)

    async def unreachable(self) -> bool:
        """See :meth:`kvproxy.store.base.Store.unreachable`: whether no server is there that knows of a leader."""
        try:
            await self._look_for_leader()
        except StoreError as error:
            return isinstance(error, StoreUnavailableError)
        return False

    async def traefik_admitted(self) -> bool:
        """See :meth:`kvproxy.store.base.Store.traefik_admitted`."""
        return self._admission is None or await self._admission.given()

    async def admit_traefik(self) -> None:
        """See :meth:`kvproxy.store.base.Store.admit_traefik`."""
        if self._admission is not None:
            await self._admission.give()

    async def aclose(self) -> None:
        """See :meth:`kvproxy.store.base.Store.aclose`."""
        await self._http.aclose()

    def _probes(self) -> Sequence[Request]:
        return [_kv("delete", root + _PROBE) for root in self._roots.values()]

    def _operation(self, operation: Operation) -> Request:
        key = self._roots[operation.space] + operation.key
        return _kv("delete", key) if operation.value is None else _set(key, operation.value)

    async def _transact(self, operations: Sequence[Request]) -> Any:
        """The results of one transaction."""
        return self._results(await self._ask(operations))

    async def _ask(self, operations: Sequence[Request]) -> Answer:
        """One transaction, but none while there is known to be no leader.

        Consul would hold it for up to 7 s and look for a leader at moments of chance, up to 0.4 s apart (`ForwardRPC`
        in its agent/consul/rpc.go), as it does with Traefik's request: the order is not left to that.
        """
        if not self._led:
            await self._look_for_leader()
        self._led = False
        answer = await self._http.request("PUT", "/v1/txn", operations)
        self._led = True
        return answer

    async def _look_for_leader(self) -> Answer:
        self._led = False
        answer = await self._http.request("GET", _LEADER)
        self._led = True
        return answer

    def _results(self, answer: Answer) -> Any:
        said = answer.json()
        if answer.status != 200 or not isinstance(said, dict) or "Results" not in said or said.get("Errors"):
            raise self._error(answer)
        self._welcome = True
        return said.get("Results") or []

    def _passing(self, answer: Answer) -> StoreUnavailableError | None:
        """True if this server cannot help, though another may, such as one that knows of no leader."""
        if answer.status == 200 and answer.body.strip() == _NOBODY:
            return StoreUnavailableError(f"{self._connection.at(answer.endpoint)} knows of no leader at the moment.")
        text = _message(answer) if answer.status in _PASSING else ""
        if answer.status not in _PASSING or any(refusal in text for refusal in _REFUSALS):
            return None
        said = self._connection.redact(text) or f"HTTP {answer.status}"
        return StoreUnavailableError(f"{self._connection.at(answer.endpoint)} cannot help at the moment ({said}).")

    def _error(self, answer: Answer) -> StoreError:
        """Return the error for an answer that is no success."""
        where, text = self._connection.at(answer.endpoint), self._connection.redact(_message(answer))
        if UNKNOWN in text and self._welcome:
            return StoreUnavailableError(
                f"{where} does not know the token any more; either it was removed (consul_token), or Consul "
                "has lost its data and needs its tokens again."
            )
        if UNKNOWN in text:
            return StoreAuthError(f"{where} does not know the token; check consul_token.")
        if answer.status == 403 or _DENIED in text:
            whose = "this token" if self._connection.token else "a client without a token (set consul_token)"
            return StoreAuthError(
                f"{where} does not let {whose} read and write all keys below "
                f"{' and '.join(map(repr, self._roots.values()))}; give its policy these as key_prefix with 'write'."
            )
        if answer.status == 401:
            return StoreAuthError(f"{where} refuses the credentials; check {CONSUL.login}.")
        if answer.status in {200, 404, 405}:
            return StoreError(f"{where} does not answer as Consul does (HTTP {answer.status}); correct consul_url.")
        return wrong_protocol(self._connection, answer) or StoreError(
            f"{where} answers: {text or 'nothing'} (HTTP {answer.status})."
        )


def _kv(verb: str, key: str, **more: Any) -> Request:
    return {"KV": {"Verb": verb, "Key": key, **more}}


def _set(key: str, value: str) -> Request:
    return _kv("set", key, Value=base64.b64encode(value.encode()).decode())


def _pair(result: Request) -> tuple[str, str]:
    return str(result["KV"]["Key"]), base64.b64decode(result["KV"]["Value"] or "").decode()


def _message(answer: Answer) -> str:
    """Consul's own words: plain text, or a list of errors if a transaction failed."""
    said = answer.json()
    if isinstance(said, dict) and said.get("Errors"):
        return "; ".join(dict.fromkeys(str(error.get("What")) for error in said["Errors"])).rstrip(".")
    return answer.text
