"""A store in memory and a Traefik that reads it, for tests of what does not depend on real ones.

Never a substitute for the real parts in a test of behaviour: nothing here is slow, torn or full of surprises unless a
test makes it so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kvproxy.errors import StoreChangedError, StoreError, StoreUnavailableError, TraefikError
from kvproxy.routing.names import ALONE
from kvproxy.store.base import Capabilities, Snapshot, Space, Store, Transaction
from kvproxy.traefik.api import Table
from kvproxy.traefik.readiness import revision_of


class MemoryStore(Store):
    """A :class:`~kvproxy.store.base.Store` in memory.

    Args:
        capabilities: the limits that it claims, and keeps.
        server: what it is connected to; a memory of its own if None.
        traefik_root: root of the configuration.
        jupyterhub_root: root of the records.
        admits: whether Traefik may read only after it was let in, which a restarted server has forgotten.
    """

    def __init__(
        self,
        capabilities: Capabilities | None = None,
        server: MemoryServer | None = None,
        traefik_root: str = "traefik",
        jupyterhub_root: str = "jupyterhub",
        *,
        admits: bool = False,
    ) -> None:
        self._admits = admits
        self.capabilities = capabilities or Capabilities()
        self._server = server or MemoryServer()
        self.config = self._server.space(traefik_root)
        self.records = self._server.space(jupyterhub_root)
        self._claims = self._server.space("claims")
        self._claim = jupyterhub_root
        self._fence: int | None = None
        self.applied: list[Transaction] = []
        self.reads = 0
        #: True if Traefik is woken by each transaction, as etcd and Consul do.
        self.tells_all = False
        #: Raised by each call as long as it is set.
        self.failure: StoreError | None = None
        #: Raised by each call that writes as long as it is set.
        self.refusal: StoreError | None = None
        self.traefik = MemoryTraefik(self)

    async def check(self) -> list[str]:
        """See :meth:`kvproxy.store.base.Store.check`."""
        self._fail()
        return []

    async def snapshot(self) -> Snapshot:
        """See :meth:`kvproxy.store.base.Store.snapshot`."""
        self._fail()
        self.reads += 1
        self._fence = self._server.fence
        return Snapshot(dict(self.config), dict(self.records))

    async def get(self, key: str) -> str | None:
        """See :meth:`kvproxy.store.base.Store.get`."""
        self._fail()
        return self.config.get(key)

    async def apply(self, transaction: Transaction) -> None:
        """See :meth:`kvproxy.store.base.Store.apply`."""
        self._fail()
        self._refuse()
        limit = self.capabilities.max_operations
        if limit is not None and len(transaction.operations) > limit:
            raise StoreError(
                f"A transaction has {len(transaction.operations)} operations; at most {limit} are allowed."
            )
        if self.capabilities.fenced and self._fence not in {None, self._server.fence}:
            raise StoreChangedError("The memory is not as it was left.")
        self._fence = self._server.move_fence()
        for operation in transaction.operations:
            space = self.config if operation.space is Space.CONFIG else self.records
            if operation.value is None:
                space.pop(operation.key, None)
            else:
                space[operation.key] = operation.value
        self.applied.append(transaction)
        if transaction.wake or self.tells_all:
            self.traefik.wake()

    def move_fence(self) -> None:
        """Announce that the memory was changed from outside."""
        self._server.move_fence()

    def restarted(self) -> None:
        """Announce a restart of the server, which keeps its contents."""
        self._server.admitted = False

    async def write_lease(self, text: str | None) -> None:
        """See :meth:`kvproxy.store.base.Store.write_lease`."""
        self._fail()
        self._refuse()
        self._claims.pop(self._claim, None)
        self._claims |= {} if text is None else {self._claim: text}

    async def read_lease(self) -> str | None:
        """See :meth:`kvproxy.store.base.Store.read_lease`."""
        self._fail()
        return self._claims.get(self._claim)

    async def traefik_admitted(self) -> bool:
        """See :meth:`kvproxy.store.base.Store.traefik_admitted`."""
        self._fail()
        return self.readable

    async def admit_traefik(self) -> None:
        """See :meth:`kvproxy.store.base.Store.admit_traefik`; Traefik, which has tried again and again, then reads."""
        self._fail()
        self._refuse()
        shut_out, self._server.admitted = not self.readable, True
        if shut_out:
            self.traefik.wake()

    @property
    def readable(self) -> bool:
        """True if Traefik may read."""
        return self._server.admitted or not self._admits

    async def aclose(self) -> None:
        """See :meth:`kvproxy.store.base.Store.aclose`."""

    def _refuse(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    def _fail(self) -> None:
        if self._server.stopped:
            raise StoreUnavailableError("The memory cannot be reached.")
        if self.failure is not None:
            raise self.failure


class MemoryServer:
    """The memory that several stores are connected to."""

    def __init__(self) -> None:
        self._spaces: dict[str, dict[str, str]] = {}
        self.stopped = False
        #: Another one after each transaction, and after all that a test does to the memory and wants to be noticed.
        self.fence = 0
        #: True if Traefik was let in.
        self.admitted = False

    def space(self, root: str) -> dict[str, str]:
        """The keys below a root."""
        return self._spaces.setdefault(root, {})

    def move_fence(self) -> int:
        """Have no transaction go on from what was there before."""
        self.fence += 1
        return self.fence

    def open(self, traefik_root: str, jupyterhub_root: str) -> MemoryStore:
        """A store in this memory."""
        return MemoryStore(None, self, traefik_root, jupyterhub_root)

    def stop(self) -> None:
        """Become unreachable; nothing is lost."""
        self.stopped = True

    def start(self) -> None:
        """Become reachable again."""
        self.stopped = self.admitted = False


class MemoryTraefik:
    """A :class:`~kvproxy.traefik.api.TraefikView` of a :class:`MemoryStore`.

    Args:
        store: what it reads when it is woken.
    """

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._loaded: dict[str, str] = {}
        # The same by the names of a kind, as of the last question; looking through all keys each time takes long.
        self._sorted: dict[str, str] = {}
        self._fields: dict[str, dict[str, str]] = {}
        #: The version that it reports.
        self.release = "3.7.15"
        #: The number of times that it was woken.
        self.reloads = 0
        #: A Traefik that is frozen is woken and reads nothing.
        self.frozen = False
        #: Raised by each call as long as it is set.
        self.failure: TraefikError | None = None
        #: Names of routers that it refuses, with the reason.
        self.rejects: dict[str, str] = {}

    def wake(self) -> None:
        """Read the store, as a message from it makes Traefik do: all of it, or nothing if a key cannot be decoded."""
        self.reloads += 1
        if (
            not self.frozen
            and self._store.readable
            and not any(key.startswith(ALONE.hold_key) for key in self._store.config)
        ):
            self._loaded = dict(self._store.config)

    label = "Traefik's API in memory"

    async def members(self) -> list[MemoryTraefik]:
        """See :meth:`kvproxy.traefik.replicas.Fleet.members`: this one alone."""
        return [self]

    async def revision(self) -> int | None:
        """See :meth:`kvproxy.traefik.api.TraefikView.revision`."""
        self._fail()
        return revision_of(self._node("http/middlewares/kvproxy-revision"))

    async def version(self) -> str:
        """See :meth:`kvproxy.traefik.api.TraefikView.version`."""
        self._fail()
        return self.release

    async def router(self, name: str) -> Mapping[str, Any] | None:
        """See :meth:`kvproxy.traefik.api.TraefikView.router`."""
        self._fail()
        router = self._node(f"http/routers/{name}")
        if router:
            for field in {"parentRefs", "middlewares", "entryPoints"} & router.keys():
                value = router[field]
                router[field] = value.split(",") if isinstance(value, str) else [v for _, v in sorted(value.items())]
        if router and name in self.rejects:
            return {**router, "status": "disabled", "error": [self.rejects[name]]}
        return router

    async def service(self, name: str) -> Mapping[str, Any] | None:
        """See :meth:`kvproxy.traefik.api.TraefikView.service`."""
        self._fail()
        service = self._node(f"http/services/{name}")
        if service and "loadBalancer" in service:
            service["loadBalancer"]["servers"] = list(service["loadBalancer"]["servers"].values())
        return service

    async def table(self) -> Table:
        """See :meth:`kvproxy.traefik.api.TraefikView.table`."""
        names = {key.split("/")[2] for key in self._loaded if key.startswith("http/routers/")}
        routers = {name: await self.router(name) or {} for name in names}
        services = {name: service for name in names if (service := await self.service(name)) is not None}
        return Table(routers, services)

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _sort(self) -> None:
        if self._loaded == self._sorted:
            return
        before, now = self._sorted.items(), self._loaded.items()
        for key, _ in before - now:
            path, field = _split(key)
            self._fields.get(path, {}).pop(field, None)
        for key, value in now - before:
            path, field = _split(key)
            if field:
                self._fields.setdefault(path, {})[field] = value
        self._sorted = dict(self._loaded)

    def _node(self, path: str) -> dict[str, Any] | None:
        self._sort()
        node: dict[str, Any] = {}
        for field, value in self._fields.get(path, {}).items():
            *parents, leaf = field.split("/")
            at = node
            for parent in parents:
                at = at.setdefault(parent, {})
            at[leaf] = value
        return node or None


def _split(key: str) -> tuple[str, str]:
    """Cut a key such as ``http/routers/name/rule`` behind its name."""
    protocol, kind, name, field, *_ = [*key.split("/", 3), "", "", ""]
    return f"{protocol}/{kind}/{name}", field
