"""Routes in one local file, which Traefik's file provider watches.

A transaction is one rename: the new text is written beside the file and put in its place, so that no reader ever gets
half of it, and configuration and records change at the same moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from kvproxy import (
    Capabilities,
    ConfigurationError,
    Snapshot,
    Store,
    StoreAuthError,
    StoreChangedError,
    StoreError,
    StoreUnavailableError,
    StoreWriteRefusedError,
    Transaction,
)

from .document import Document
from .formats import BrokenFileError, format_of

T = TypeVar("T")

#: Seconds to wait for another kvproxy that is just writing in the same directory.
_TURN: Final = 10.0
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_PASSING: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ESTALE})
_DENIED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class FileStore(Store):
    """A :class:`~kvproxy.store.base.Store` in a file.

    All work is done in a thread of its own, as a file of 10,000 routes takes a while to write.

    Args:
        path: the file, absolute; its ending tells the format.

    Raises:
        ConfigurationError: if the ending is none that Traefik knows, or a library is not installed.
    """

    capabilities = Capabilities(fenced=True, whole_reads=True)

    def __init__(self, path: Path) -> None:
        self._path = path
        self._claim = path.with_name(f".{path.name}.hub")
        self._lock = path.with_name(f".{path.name}.lock")
        self._format = format_of(path.name)
        self._thread = ThreadPoolExecutor(1, "kvproxy-file")
        self._document: Document | None = None
        self._digest = b""

    async def check(self) -> list[str]:
        """See :meth:`kvproxy.store.base.Store.check`; nothing is written."""
        return [*await self._run(self._check)]

    async def snapshot(self) -> Snapshot:
        """See :meth:`kvproxy.store.base.Store.snapshot`; the file is parsed only if it is not as it was left."""
        return await self._run(lambda: self._read().snapshot())

    async def get(self, key: str) -> str | None:
        """See :meth:`kvproxy.store.base.Store.get`; the file is read, and parsed only if it is not as it was left."""
        return await self._run(lambda: self._read().get(key))

    async def apply(self, transaction: Transaction) -> None:
        """See :meth:`kvproxy.store.base.Store.apply`: one rename."""
        await self._run(lambda: self._apply(transaction), writing=True)

    async def write_lease(self, text: str | None) -> None:
        """See :meth:`kvproxy.store.base.Store.write_lease`: a file beside the other, which Traefik does not look at."""
        await self._run(lambda: self._put_claim(text), writing=True)

    async def read_lease(self) -> str | None:
        """See :meth:`kvproxy.store.base.Store.read_lease`."""

        def read() -> str | None:
            try:
                return self._claim.read_text(errors="replace")
            except FileNotFoundError:
                return None

        return await self._run(read)

    def _put_claim(self, text: str | None) -> None:
        if text is None:
            self._claim.unlink(missing_ok=True)
            return
        new = self._claim.with_name(self._claim.name + ".new")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        os.replace(new, self._claim)

    async def purge(self) -> None:
        """See :meth:`kvproxy.store.base.Store.purge`: the file that is locked."""
        await self._run(lambda: self._lock.unlink(missing_ok=True), writing=True)

    async def aclose(self) -> None:
        """See :meth:`kvproxy.store.base.Store.aclose`; a write that is under way comes to its end."""
        await asyncio.get_running_loop().run_in_executor(None, self._thread.shutdown)

    async def _run(self, work: Callable[[], T], *, writing: bool = False) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._careful, work, writing)

    def _careful(self, work: Callable[[], T], writing: bool) -> T:
        try:
            return work()
        except BaseException as error:
            # The contents in memory may be half changed.
            self._document = None
            if isinstance(error, OSError):
                raise explain(error, self._path, writing=writing) from None
            if isinstance(error, BrokenFileError):
                raise StoreError(
                    f"{self._path}, line {error.line}: {error.why}. Correct it, or remove the file; kvproxy writes "
                    "nothing to it until then."
                ) from None
            raise

    def _check(self) -> Sequence[str]:
        directory = self._path.parent
        if not directory.is_dir():
            raise ConfigurationError(f"The directory {directory} of dynamic_config_file does not exist; create it.")
        if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
            raise ConfigurationError(
                f"The hub's user may not write to {directory}, the directory of dynamic_config_file, where new files "
                "are made before they take the place of the old one."
            )
        if self._path.exists() and not self._path.is_file():
            raise ConfigurationError(f"dynamic_config_file = {self._path} is not a file.")
        self._read()
        return tuple(self._warnings())

    def _warnings(self) -> Iterator[str]:
        if self._path.exists() and (mode := self._path.stat().st_mode) & 0o007:
            yield (
                f"{self._path} was open to all users of this machine (mode {stat.S_IMODE(mode):04o}); it holds hashes "
                "of passwords, so kvproxy makes it private (0600)."
            )

    def _read(self) -> Document:
        """The file as it is; kept in memory from then on."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            data = b""
        digest = _digest(data)
        if self._document is None or digest != self._digest:
            self._document = self._parse(data)
            self._digest = digest
        return self._document

    def _parse(self, data: bytes) -> Document:
        try:
            return Document.parse(data.decode(), self._format)
        except UnicodeDecodeError as error:
            raise BrokenFileError(data.count(b"\n", 0, error.start) + 1, "this is not UTF-8 text") from None

    def _apply(self, transaction: Transaction) -> None:
        with self._turn():
            before, known = _state(self._path), self._document
            document = self._read()
            if known is not None and document is not known:
                raise StoreChangedError(f"{self._path} is not as kvproxy left it.")
            document.apply(transaction.operations)
            data = document.text().encode()
            self._replace(data, before)
            self._digest = _digest(data)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Keep other kvproxys from writing at the same time.

        The lock is on a file that only the hub's user may open: one on the directory could be held by any user
        who may read it.
        """
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            deadline = time.monotonic() + _TURN
            while not _lock(descriptor):
                if time.monotonic() > deadline:
                    raise StoreUnavailableError(f"Another program has kept {self._lock} locked for {_TURN:g} s.")
                time.sleep(0.01)
            yield
        finally:
            os.close(descriptor)

    def _replace(self, data: bytes, before: tuple[int, ...] | None) -> None:
        new = self._path.with_name(f".{self._path.name}.new")
        new.unlink(missing_ok=True)
        try:
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                self._keep_group(file.fileno())
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if _state(self._path) != before:
                raise StoreChangedError(f"{self._path} was changed by someone else at this very moment.")
            os.replace(new, self._path)
        finally:
            new.unlink(missing_ok=True)

    def _keep_group(self, descriptor: int) -> None:
        """A file that only its group may read, too, stays so: that is how an administrator lets Traefik in."""
        with contextlib.suppress(FileNotFoundError):
            old = self._path.stat()
            if old.st_mode & 0o047 == 0o040:
                os.fchown(descriptor, -1, old.st_gid)
                os.fchmod(descriptor, 0o640)


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data).digest()


def _state(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # Some file systems know no locks; they are for two kvproxys on one file, which is rare enough.
        return True
    return True


def explain(error: OSError, path: Path, *, writing: bool = False) -> StoreError:
    """One of kvproxy's errors for one of the system's.

    Args:
        error: what went wrong.
        path: ``dynamic_config_file``.
        writing: whether it was a change that failed, so that the file can be read and served all the same.
    """
    why = error.strerror or str(error)
    if writing and error.errno in _FULL:
        return StoreWriteRefusedError(f"{path} cannot be changed as its disk is full ({why}); free space there.")
    if writing and error.errno in _DENIED:
        return StoreWriteRefusedError(f"The hub's user may not write to the directory of {path} now ({why}).")
    if error.errno in _PASSING:
        return StoreUnavailableError(f"{path} cannot be read or written now ({why}).")
    if error.errno in _DENIED:
        return StoreAuthError(f"The hub's user may not read {path} or write to its directory ({why}).")
    return StoreError(f"{path} cannot be read or written ({why}); check dynamic_config_file.")
