"""Routes in ZooKeeper, whose nodes are a tree: a key ``a/b`` is the node ``b`` in the node ``a``.

Nodes that are there only because a tree needs them hold one byte, as Traefik asks six times for a node without any.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import quote, unquote

from kazoo import exceptions as zk
from kazoo.client import KazooClient
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.retry import KazooRetry
from kazoo.security import CREATOR_ALL_ACL

from kvproxy import Capabilities, Snapshot, Space, Store, StoreAuthError, StoreError, StoreUnavailableError, Transaction

from .connection import Connection

#: kazoo's log: what matters is raised.
_QUIET: Final = logging.Logger("kazoo", logging.CRITICAL + 1)
#: What a node holds that has no value.
_FOLDER: Final = b"\0"
#: Seconds for connecting, for one answer, and for trying again what somebody else disturbs.
_CONNECT, _ANSWER, _PATIENCE = 4.0, 10.0, 15.0
#: What the server takes in one request (``jute.maxbuffer``), with something to spare.
_REQUEST_BYTES: Final = 1_000_000
#: What ZooKeeper adds to the path and the value of a change, at most.
_OVERHEAD: Final = 80
_GONE: Final = (zk.ConnectionLoss, zk.SessionExpiredError, zk.ConnectionClosedError, zk.OperationTimeoutError,
                zk.SessionMovedError, KazooTimeoutError, OSError)  # fmt: skip
#: Somebody else has changed what was read a moment ago.
_DISTURBED: Final = (zk.BadVersionError, zk.NoNodeError, zk.NodeExistsError, zk.NotEmptyError)


class ZooKeeperStore(Store):
    """A :class:`~kvproxy.store.base.Store` in ZooKeeper, by kazoo in a thread of its own.

    The configuration is below ``/<traefik_root>``, the records are below ``/<jupyterhub_root>/routes``, by their
    percent-encoded keys. Beside them stands a node that each transaction changes: a read that sees another version of
    it afterwards than before starts over, and a write that was planned on another version is refused.

    Args:
        connection: where ZooKeeper is. What a user creates is this user's alone.
        traefik_root: root of the configuration, without slashes at its ends.
        jupyterhub_root: root of the records, likewise.
    """

    #: A key of Traefik's may need eight nodes, so this many fill about half of a request; values fill the rest.
    capabilities = Capabilities(max_operations=500, max_bytes=256 * 1024)

    def __init__(self, connection: Connection, traefik_root: str, jupyterhub_root: str) -> None:
        self._connection, self._version = connection, f"/{jupyterhub_root}/version"
        self._roots = {Space.CONFIG: f"/{traefik_root}", Space.RECORDS: f"/{jupyterhub_root}/routes"}
        self._thread = ThreadPoolExecutor(1, "kvproxy-zookeeper")
        self._client: KazooClient | None = None

    async def check(self) -> list[str]:
        """See :meth:`kvproxy.store.base.Store.check`: whether ZooKeeper is there, and the right to read."""
        await self._run(lambda client: _look(client, self._roots.values()))
        return []

    async def snapshot(self) -> Snapshot:
        """See :meth:`kvproxy.store.base.Store.snapshot`."""
        return await self._run(self._list)  # type: ignore[no-any-return]

    async def apply(self, transaction: Transaction) -> None:
        """See :meth:`kvproxy.store.base.Store.apply`."""
        await self._run(lambda client: self._apply(client, transaction))

    async def aclose(self) -> None:
        """See :meth:`kvproxy.store.base.Store.aclose`."""
        await asyncio.to_thread(self._thread.shutdown)
        await asyncio.to_thread(self._drop)

    async def _run(self, work: Callable[[KazooClient], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._attempt, work)

    def _attempt(self, work: Callable[[KazooClient], Any]) -> Any:
        """Do the work, again and again as long as somebody else disturbs it."""
        deadline, where = time.monotonic() + _PATIENCE, f"ZooKeeper at {self._connection.hosts}"
        try:
            while time.monotonic() < deadline:
                with contextlib.suppress(*_DISTURBED):
                    return work(self._connected())
            raise StoreUnavailableError(f"{where} is changed by others all the time.")
        except _GONE as error:
            self._drop()
            raise StoreUnavailableError(f"{where} cannot be reached ({error!r}).") from None
        except (zk.NoAuthError, zk.AuthFailedError):
            raise StoreAuthError(f"{where} refuses this user; check zookeeper_username and _password.") from None
        except (zk.KazooException, ValueError) as error:
            raise StoreError(f"{where} cannot take or give a key or value: {error!r}.") from None

    def _connected(self) -> KazooClient:
        if self._client is None or not self._client.connected:
            self._drop()
            retry = KazooRetry(max_tries=-1, delay=0.05, backoff=2, max_delay=0.5)
            login = self._connection.login
            who = {"auth_data": [("digest", login)], "default_acl": CREATOR_ALL_ACL} if login else {}
            self._client = KazooClient(self._connection.hosts, connection_retry=retry, logger=_QUIET, **who)
            self._client.start(_CONNECT)
        return self._client

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.stop()
            client.close()

    def _list(self, client: KazooClient) -> Snapshot:
        client.sync_async("/").get(timeout=_ANSWER)
        before = _look(client, [self._version])
        config, records = (_walk(client, root) for root in self._roots.values())
        if _look(client, [self._version]) != before:
            raise zk.BadVersionError
        return Snapshot(config, {unquote(key): value for key, value in records.items()})

    def _apply(self, client: KazooClient, transaction: Transaction) -> None:
        operations = [(self._path(o.space, o.key), o.value) for o in transaction.operations]
        touched = [path for path, _ in operations] + [*self._roots.values(), self._version]
        found = _look(client, {above for path in touched for above in _way(path)})
        edit = _Edit(client.transaction(), found, set(self._roots.values()))
        edit.put(self._version, b"v", found[self._version][1].version if self._version in found else -1)
        for root in self._roots.values():
            edit.folder(root)
        for path, value in sorted(operations, key=lambda operation: operation[1] is None):
            edit.delete(path) if value is None else edit.put(path, value.encode())
        if transaction.wake or None in {value for _, value in operations}:
            # Traefik notices only that nodes right below its root come and go. A read of Traefik's that meets a node
            # which is just being deleted fails, so it has to read again after deletions as well.
            edit.request.create(f"{self._roots[Space.CONFIG]}/kvproxy-wake")
            edit.request.delete(f"{self._roots[Space.CONFIG]}/kvproxy-wake")
        steps = edit.request.operations
        if sum(_OVERHEAD + len(step.path) + len(getattr(step, "data", b"")) for step in steps) > _REQUEST_BYTES:
            raise StoreError(f"ZooKeeper takes at most {_REQUEST_BYTES} bytes in one transaction, and this is more.")
        for result in edit.request.commit_async().get(timeout=_ANSWER):
            if isinstance(result, Exception) and not isinstance(result, (zk.RolledBackError, zk.RuntimeInconsistency)):
                raise result

    def _path(self, space: Space, key: str) -> str:
        name = quote(key, safe="").replace(".", "%2E") if space is Space.RECORDS else key
        # Encoded here, as kazoo would find only in its own thread that it cannot.
        if b"//" in f"/{name}/".encode():
            raise StoreError(f"ZooKeeper cannot take the key {key!r}, as it has an empty part.")
        return f"{self._roots[space]}/{name}"


class _Edit:
    """Puts a transaction together, knowing what the nodes are before it.

    Args:
        request: kazoo's.
        found: value and stat of each node that there is, of those that may be touched and all those above them.
        kept: paths of nodes that are not deleted when they become empty.
    """

    def __init__(self, request: Any, found: dict[str, Any], kept: set[str]) -> None:
        self.request, self._kept = request, kept
        self._data = {path: data for path, (data, _) in found.items()}
        self._children = {path: stat.numChildren for path, (_, stat) in found.items()}

    def folder(self, path: str) -> None:
        """See to it that there is such a node."""
        if path and path not in self._data:
            self.put(path, _FOLDER)

    def put(self, path: str, value: bytes, version: int = -1) -> None:
        """Set a node's value, only if the node has that version."""
        if path in self._data:
            self.request.set_data(path, value, version)
        else:
            self.folder(above := path.rpartition("/")[0])
            self.request.create(path, value)
            self._children |= {path: 0, above: self._children.get(above, 0) + 1}
        self._data[path] = value

    def delete(self, path: str) -> None:
        """Take a node's value, and remove it and those above it if there is no more need for them."""
        if self._children.get(path):
            self.put(path, _FOLDER)
        while path in self._data and not self._children[path] and path not in self._kept:
            self.request.delete(path)
            del self._data[path]
            path = path.rpartition("/")[0]
            self._children[path] -= 1
            if self._data[path] not in {_FOLDER, b"", None}:
                break


def _look(client: KazooClient, paths: Iterable[str]) -> dict[str, Any]:
    """Value and stat of the nodes that there are, asked for all at once."""
    asked = {path: client.get_async(path) for path in paths}
    found = {}
    for path, answer in asked.items():
        with contextlib.suppress(zk.NoNodeError):
            found[path] = answer.get(timeout=_ANSWER)
    return found


def _walk(client: KazooClient, root: str) -> dict[str, str]:
    """All keys below a root, level by level."""
    values, level = {}, [root]
    while level:
        found = _look(client, level)
        parents = {path: client.get_children_async(path) for path, (_, stat) in found.items() if stat.numChildren}
        for path, (data, _) in found.items():
            if path != root and data != _FOLDER and (data or path not in parents):
                values[path[len(root) + 1 :]] = (data or b"").decode()
        level = [f"{path}/{name}" for path, answer in parents.items() for name in answer.get(timeout=_ANSWER)]
    return values


def _way(path: str) -> Iterable[str]:
    """A node's path and those of all above it."""
    parts = path.split("/")
    return ("/".join(parts[:end]) for end in range(2, len(parts) + 1))
