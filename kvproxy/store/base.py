"""The seam between kvproxy and a key-value store.

A store has two spaces: the *configuration*, which Traefik watches below its ``rootKey``, and the hub's *records*, one
JSON value a route, kept where Traefik does not look. Keys are relative to the root of their space; a
store adds the root. One transaction spans both spaces, all or nothing.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from ..errors import ConfigurationError


class Space(Enum):
    """Which of a store's two spaces a key is in."""

    CONFIG = "config"
    RECORDS = "records"


@dataclass(frozen=True, slots=True)
class Operation:
    """Set ``key`` to ``value``, or delete it if ``value`` is None. Deleting a missing key is no error."""

    space: Space
    key: str
    value: str | None = field(repr=False)

    @property
    def size(self) -> int:
        """Bytes of key and value in UTF-8, without the root and whatever the store's protocol adds."""
        # A file's text can hold half of a surrogate pair, which UTF-8 has no bytes for.
        return sum(len(text.encode(errors="surrogatepass")) for text in (self.key, self.value or ""))


@dataclass(frozen=True, slots=True)
class Transaction:
    """Operations that a store applies all or not at all.

    Args:
        operations: no key stands in it twice.
        wake: tell Traefik to read again, once. A store that notifies Traefik by itself ignores it.
    """

    operations: tuple[Operation, ...]
    wake: bool = True


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All keys and values of both spaces, keys relative to their roots; keys of others under the root included."""

    config: dict[str, str] = field(default_factory=dict, repr=False)
    records: dict[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can do; the core plans its transactions by these, and the conformance kit tests them.

    Args:
        max_operations: operations in one transaction at most, None for no limit.
        max_bytes: sum of :attr:`Operation.size` in one transaction at most, None for no limit.
        fenced: whether :meth:`Store.apply` refuses to write to a store that is not as it was left, see there.
    """

    max_operations: int | None = None
    max_bytes: int | None = None
    fenced: bool = False


class Store(abc.ABC):
    """What a backend implements. No method is called before the one before it has ended.

    Each method raises :class:`~kvproxy.errors.StoreUnavailable` if trying again later may work,
    :class:`~kvproxy.errors.StoreAuthError` if the credentials are refused, another
    :class:`~kvproxy.errors.StoreError` for the rest, and never an exception of the store's client library.

    Example::

        store = RedisStore(parse_connection("redis://127.0.0.1:6379"), "traefik", "jupyterhub")
        warnings = await store.check()
        await store.apply(Transaction((Operation(Space.CONFIG, "http/routers/r/rule", 'Path("/r")'),)))
        print((await store.list()).config)
        await store.aclose()
    """

    capabilities: Capabilities = Capabilities()
    #: What to do about a store that is :meth:`noisy`: a sentence for an administrator, which names the settings.
    quieter: str = ""

    @abc.abstractmethod
    async def check(self) -> list[str]:
        """Connect, refuse a server that cannot work, and give back warnings, each a sentence that names a setting."""

    def in_clear_text(self) -> list[str]:
        """Warnings, for ``kvproxy check``, about a connection that others can read along. Asks no server."""
        return []

    def watch(self, changed: Callable[[], None]) -> None:
        """Begin to look out for another server taking over, if this store can; it is closed by :meth:`aclose`.

        Args:
            changed: to be called when the store may not be as it was left, so that it is read at once, not only when
                that is noticed.
        """
        return

    @abc.abstractmethod
    async def list(self) -> Snapshot:
        """Read both spaces in full. The only operation whose cost may grow with the table."""

    async def get(self, key: str) -> str | None:
        """One value of the configuration, None if there is none. Asked every second, so that it should cost little.

        A store that has no cheap way reads everything, as here.
        """
        return (await self.list()).config.get(key)

    @abc.abstractmethod
    async def apply(self, transaction: Transaction) -> None:
        """Apply a transaction. It may be sent again after an error, which must come to the same.

        A *fenced* store compares in the same breath: if somebody else has written, or the store was emptied or has gone
        back to old data, since this object read all or wrote last, it writes nothing. Else what is new would stand
        there alone, and Traefik would load it, before the rest is written again. An object that has done neither, or
        whose last transaction has failed, takes the store as it is.

        Raises:
            StoreChanged: if a fenced store is not as it was left. Reading it again mends that.
        """

    async def quiet(self) -> None:
        """Take back what makes the store :meth:`noisy` and nobody but Traefik has asked for, if there is such a thing.

        Called when Traefik has come and about once a second after that.
        """
        return

    async def noisy(self) -> bool:
        """Whether whoever reads the configuration is woken for each key of a transaction instead of once.

        Then a transaction should have few keys, however many it may have. False where nobody can tell. Changes nothing
        in the two spaces and wakes nobody. Unlike the other methods, it may be called while another one is at work.
        """
        return False

    async def claim(self, text: str | None) -> None:
        """Keep a text that says which hub is at work, or remove it if None. It is in neither of the two spaces.

        Nobody is woken. A store that does not keep it cannot tell that two hubs write to the same roots.
        """
        return

    async def claimed(self) -> str | None:
        """The text that a hub with the same roots gave to :meth:`claim` last, None if there is none."""
        return None

    async def clock(self) -> float | None:
        """The store's own time, in seconds since 1970 in UTC, None if it does not tell."""
        return None

    async def away(self) -> bool:
        """Whether the server cannot be reached, or cannot work yet; False also where only asking for keys would tell.

        Looked at many times a second after an error, so that it should cost next to nothing. Raises no error.
        """
        return False

    async def admitted(self) -> bool:
        """Whether Traefik may read what is here. Asked every second, so that it should cost little.

        A store that decides that, see :meth:`admit`, says False of a server that has been started anew or replaced.
        """
        return True

    async def admit(self) -> None:
        """Let Traefik read from now on: what it finds is complete. Also asked when it may read already.

        A store that can shut Traefik out of a server that was just started, until this is called, keeps it from taking
        a store that was emptied, or has gone back to old data, for what is wanted. One that cannot does nothing.

        Raises:
            StoreChanged: if a fenced store is not as it was left.
        """
        return

    async def forget(self) -> None:
        """Remove what the store keeps for itself beside the two spaces; asked when nobody uses the roots any more."""
        return

    @abc.abstractmethod
    async def aclose(self) -> None:
        """Close all connections. No method but this one is called after it."""


def roots(traefik_prefix: str, jupyterhub_prefix: str, hub: str) -> tuple[str, str]:
    """The roots of the two spaces.

    Args:
        traefik_prefix: ``kv_traefik_prefix``.
        jupyterhub_prefix: ``kv_jupyterhub_prefix``.
        hub: ``hub_id``; the records of a hub that has one are below a root of its own.

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
    return traefik, f"{jupyterhub}/{hub}" if hub else jupyterhub


def normalise_root(prefix: str, setting: str) -> str:
    """A key prefix without its slashes at both ends: ``"/traefik/"`` and ``"traefik"`` are the same root.

    Raises:
        ConfigurationError: if nothing is left, or it holds what a store or Traefik cannot use in a root.

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
