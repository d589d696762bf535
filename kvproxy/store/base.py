"""The interface between kvproxy and a key-value store.

A store has two spaces: the *configuration*, which Traefik watches below its ``rootKey``, and the hub's *records*, one
JSON value per route, kept where Traefik does not look. Keys are relative to the root of their space; a store adds the
root. One transaction spans both spaces, all or nothing.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from ..errors import ConfigurationError


class Space(Enum):
    """The two spaces of a store."""

    CONFIG = "config"
    RECORDS = "records"

    # A member is one object. Enum's own hash is a function in Python, and members are keys for each operation.
    __hash__ = object.__hash__


@dataclass(frozen=True, slots=True)
class Operation:
    """Set ``key`` to ``value``, or delete it if ``value`` is None. Deleting a missing key is no error."""

    space: Space
    key: str
    value: str | None = field(repr=False)

    @property
    def size(self) -> int:
        """Bytes of key and value in UTF-8, without the root and the overhead of the store's protocol."""
        # A file's text can hold half of a surrogate pair, which UTF-8 cannot encode.
        taken = len(self.key.encode(errors="surrogatepass"))
        return taken if self.value is None else taken + len(self.value.encode(errors="surrogatepass"))


@dataclass(frozen=True, slots=True)
class Transaction:
    """Operations that a store applies atomically.

    Args:
        operations: the operations, at most one per key.
        wake: True to notify Traefik once, so that it reads again. A store that notifies Traefik by itself ignores it.
    """

    operations: tuple[Operation, ...]
    wake: bool = True


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All keys and values of both spaces, keys relative to their roots, including keys of other writers."""

    config: dict[str, str] = field(default_factory=dict, repr=False)
    records: dict[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Limits and guarantees of a store. Transactions are planned by these; the conformance kit tests the first three.

    Args:
        max_operations: maximum operations in one transaction, None for no limit.
        max_bytes: maximum sum of :attr:`Operation.size` in one transaction, None for no limit.
        fenced: True if :meth:`Store.apply` refuses to write to a store that is not as it was left, see there.
        whole_reads: True if Traefik reads all keys as of one moment, and so no part of a transaction.
    """

    max_operations: int | None = None
    max_bytes: int | None = None
    fenced: bool = False
    whole_reads: bool = False


class Store(abc.ABC):
    """The interface that a backend implements. Calls do not overlap: each begins after the one before has ended.

    Required are :meth:`check`, :meth:`snapshot`, :meth:`apply` and :meth:`aclose`. The other methods have defaults that
    are right for a store without the feature:

    ============================================================ ======================================================
    Optional                                                     Override it if the store can
    ============================================================ ======================================================
    :meth:`get`                                                  read one key more cheaply than all
    :meth:`watch`                                                notice by itself that another server has taken over
    :meth:`unreachable`                                          tell cheaply that no server is there
    :meth:`write_lease`, :meth:`read_lease`                      keep a lease, so that a second hub is noticed
    :meth:`admit_traefik`, :meth:`traefik_admitted`              keep Traefik out until the table is complete
    :meth:`notifies_per_key`, :meth:`disable_key_notifications`  notify Traefik once per key, and stop doing so
    :meth:`in_clear_text`                                        be reached over a connection that others can read
    :meth:`server_time`                                          tell the time
    :meth:`purge`                                                keep keys of its own beside the two spaces
    ============================================================ ======================================================

    Each method raises :class:`~kvproxy.errors.StoreUnavailableError` if a retry may work,
    :class:`~kvproxy.errors.StoreAuthError` if the credentials are refused, another
    :class:`~kvproxy.errors.StoreError` for the rest, and never an exception of the store's client library.

    Example::

        store = RedisStore(parse_connection("redis://127.0.0.1:6379"), "traefik", "jupyterhub")
        warnings = await store.check()
        await store.apply(Transaction((Operation(Space.CONFIG, "http/routers/r/rule", 'Path("/r")'),)))
        print((await store.snapshot()).config)
        await store.aclose()
    """

    capabilities: Capabilities = Capabilities()
    #: Advice for a store that :meth:`notifies_per_key`: a sentence for an administrator that names the settings.
    notification_advice: str = ""

    @abc.abstractmethod
    async def check(self) -> list[str]:
        """Connect, refuse a server that cannot work, and return warnings, each a sentence that names a setting."""

    @abc.abstractmethod
    async def snapshot(self) -> Snapshot:
        """Read both spaces in full. The only operation whose cost may grow with the table."""

    @abc.abstractmethod
    async def apply(self, transaction: Transaction) -> None:
        """Apply a transaction. It may be repeated after an error, and the result must be the same.

        A *fenced* store checks atomically that nothing has changed since this object last read everything or wrote. If
        another client has written, or the store was emptied or has gone back to old data, it writes nothing. Otherwise
        Traefik could load the new keys alone, before the rest is rewritten. An object that has done neither, or whose
        last transaction has failed, accepts the store as it is.

        Raises:
            StoreChangedError: if a fenced store is not as it was left. After :meth:`snapshot`, a retry may work.
        """

    @abc.abstractmethod
    async def aclose(self) -> None:
        """Close all connections. No other method is called after it."""

    async def get(self, key: str) -> str | None:
        """Return one value of the configuration, None if there is none. Called every second.

        The default reads everything.
        """
        return (await self.snapshot()).config.get(key)

    def watch(self, changed: Callable[[], None]) -> None:
        """Start to watch for a failover to another server, until :meth:`aclose`.

        Args:
            changed: to be called when the store may not be as it was left. The store is then read at once instead of
                at the next regular read.
        """
        return

    async def unreachable(self) -> bool:
        """Return True if no server answers, or none is ready; False if only a request for keys would tell.

        Called many times per second after an error, so it must be cheap. Raises no error.
        """
        return False

    async def write_lease(self, text: str | None) -> None:
        """Write the text of the hub's lease, or remove it if None. It is in neither of the two spaces.

        No watcher is notified. Without a lease, two hubs that write to the same roots go unnoticed.
        """
        return

    async def read_lease(self) -> str | None:
        """Return the last text that a hub with the same roots wrote by :meth:`write_lease`, None if there is none."""
        return None

    async def admit_traefik(self) -> None:
        """Let Traefik read the store, which is complete now. Also called if it may read already.

        A store that shuts Traefik out of a newly started server until this is called keeps Traefik from loading a store
        that was emptied, or has gone back to old data.

        Raises:
            StoreChangedError: if a fenced store is not as it was left.
        """
        return

    async def traefik_admitted(self) -> bool:
        """Return True if Traefik may read the store. Called every second, so it should be cheap.

        A store with :meth:`admit_traefik` returns False for a server that has been restarted or replaced.
        """
        return True

    async def notifies_per_key(self) -> bool:
        """Return True if watchers are notified once per key rather than once per transaction; False if unknown.

        If True, kvproxy keeps transactions small. Changes nothing in the two spaces and notifies no watcher. Unlike the
        other methods, it may be called while another one is running.
        """
        return False

    async def disable_key_notifications(self) -> None:
        """Switch notifications per key off again if only Traefik has switched them on.

        Called when Traefik has connected and about once per second after that.
        """
        return

    def in_clear_text(self) -> list[str]:
        """Return warnings for ``kvproxy check`` about a connection that others can read. Sends no request."""
        return []

    async def server_time(self) -> float | None:
        """Return the store's own time, in seconds since 1970 in UTC, None if it does not report one."""
        return None

    async def purge(self) -> None:
        """Remove the keys that the store keeps beside the two spaces; called when the roots are no longer used."""
        return


@dataclass(frozen=True)
class Roots:
    """The roots of the two spaces, without slashes at their ends.

    Args:
        traefik: root of the configuration, which Traefik reads.
        jupyterhub: root of the records.
    """

    traefik: str
    jupyterhub: str

    def __str__(self) -> str:
        return f"below {self.traefik!r} and {self.jupyterhub!r}"


def make_roots(traefik_prefix: str, jupyterhub_prefix: str, hub: str) -> Roots:
    """Return the roots that a proxy's settings name.

    Args:
        traefik_prefix: ``kv_traefik_prefix``.
        jupyterhub_prefix: ``kv_jupyterhub_prefix``.
        hub: ``hub_id``; the records of a hub that has one are below a root of their own.

    Raises:
        ConfigurationError: see :func:`normalise_root`; or if Traefik would read the records as its configuration.
    """
    traefik = normalise_root(traefik_prefix, "kv_traefik_prefix")
    jupyterhub = normalise_root(jupyterhub_prefix, "kv_jupyterhub_prefix")
    if jupyterhub.startswith(traefik):
        raise ConfigurationError(
            f"kv_jupyterhub_prefix = {jupyterhub!r} begins with kv_traefik_prefix = {traefik!r}, so Traefik would read "
            "the hub's records as its configuration; choose another."
        )
    return Roots(traefik, f"{jupyterhub}/{hub}" if hub else jupyterhub)


def normalise_root(prefix: str, setting: str) -> str:
    """Return a key prefix without slashes at its ends: ``"/traefik/"`` and ``"traefik"`` are the same root.

    Raises:
        ConfigurationError: if nothing is left, or it has characters that a store or Traefik cannot use in a root.

    >>> normalise_root("/some/prefix/", "kv_traefik_prefix")
    'some/prefix'
    """
    root = prefix.strip("/")
    if not root:
        raise ConfigurationError(f"{setting} = {prefix!r} leaves no name; give one, such as 'traefik'.")
    if "//" in root or not root.isprintable() or any(c in root for c in " *?[]\\^"):
        raise ConfigurationError(
            f"{setting} = {prefix!r} cannot be used: no blanks, no '//' and none of * ? [ ] ^ \\ may stand in it."
        )
    return root
