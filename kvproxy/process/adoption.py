"""The decision whether a Traefik that an earlier hub left running may go on, as values.

Traefik's connections, open websockets among them, live as long as its process, so it is taken over unless something
has changed that it learns at its start only. Its start-up settings are recorded beside its process id, as digests.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, TypeAlias

from ..errors import ConfigurationError

#: Two starts of processes with one id are told apart by more than this many seconds.
_SAME_START: Final = 1.0

#: Keys of a static configuration whose values are files, or the contents of one.
_TLS_FILES: Final = {"ca", "cert", "key"}


@dataclass(frozen=True)
class Identity:
    """One process, told apart from another that gets the same id later.

    Args:
        pid: its process id.
        started: when it was started, in seconds of a time that is not changed when the clock is set.
        boot: names the boot of the machine that this time begins with; empty if it begins with none.
    """

    pid: int
    started: float
    boot: str = ""

    def is_same(self, other: Identity) -> bool:
        """True if both are one process."""
        return (self.pid, self.boot) == (other.pid, other.boot) and abs(self.started - other.started) <= _SAME_START


@dataclass(frozen=True)
class Running:
    """A process that runs now.

    Args:
        identity: which one.
        command: its command line.
    """

    identity: Identity
    command: tuple[str, ...]


@dataclass(frozen=True)
class Launch:
    """Everything that Traefik learns at its start only.

    Args:
        binary: path of the Traefik binary.
        version: the version that it says it has.
        environment: variables on top of the hub's own.
        configuration: text of the static configuration.
        files: digests of the files that it names and that Traefik reads once, by their names.
    """

    binary: str
    version: tuple[int, ...]
    environment: Mapping[str, str] = field(repr=False)
    configuration: str = field(repr=False)
    files: Mapping[str, str] = field(default_factory=dict)

    def digests(self) -> dict[str, str]:
        """Digests of everything that can change, by its name in a sentence; a digest does not reveal its input."""
        return {
            "binary": _digest([self.binary, *self.version]),
            "configuration": _digest(self.configuration),
            "environment": _digest(dict(self.environment)),
            "certificates": _digest(dict(self.files)),
        }


@dataclass(frozen=True)
class Record:
    """The record in the file beside the configuration while Traefik runs.

    Args:
        traefik: the Traefik.
        hub: the hub that looks after it, or did so last.
        digests: what it was started with, see :meth:`Launch.digests`.
    """

    traefik: Identity
    hub: Identity
    digests: Mapping[str, str]

    def text(self) -> str:
        """The contents of the file."""
        return json.dumps({**asdict(self.traefik), "hub": asdict(self.hub), "digests": dict(self.digests)}) + "\n"

    @classmethod
    def parse(cls, text: str) -> Record | None:
        """The record in a file, None if it is not a whole one."""
        try:
            found: Any = json.loads(text)
            digests = {str(name): str(digest) for name, digest in found["digests"].items()}
            return cls(_identity(found), _identity(found["hub"]), digests)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            return None


@dataclass(frozen=True)
class Start:
    """No Traefik of this configuration file runs."""


@dataclass(frozen=True)
class Adopt:
    """The Traefik that runs is as a new one would be.

    Args:
        traefik: which one.
    """

    traefik: Identity


@dataclass(frozen=True)
class Replace:
    """A Traefik of this configuration file runs, and a new one must take its place.

    Args:
        traefik: which one.
        why: the reason, to be read after a colon.
    """

    traefik: Identity
    why: str


Decision: TypeAlias = "Start | Adopt | Replace"


def certificate_files(configuration: Mapping[str, Any]) -> list[str]:
    """Names of the files for TLS in a static configuration; some may be the contents instead.

    Traefik reads them when it starts (3.7, `pkg/types/tls.go`). Those of the dynamic configuration are read again at
    each reload (`Manager.UpdateConfigs` in `pkg/tls/tlsmanager.go`), so they are no matter of its start.
    """
    names: list[str] = []
    for key, value in configuration.items():
        if isinstance(value, Mapping):
            names += certificate_files(value)
        elif isinstance(value, str) and key.lower() in _TLS_FILES:
            names.append(value)
    return names


def command(binary: str, config_file: str) -> list[str]:
    """The command line of a Traefik."""
    return [binary, "--configfile", config_file]


def decide(
    record: Record | None, running: Mapping[int, Running], me: Identity, launch: Launch, config_file: str
) -> Decision:
    """Decide what becomes of the Traefik that was recorded.

    Args:
        record: what an earlier hub has left in the file, None if it left nothing that can be read.
        running: the processes that run now, by their ids: those named in the record, and others of the same file.
        me: this hub.
        launch: what Traefik is to be started with.
        config_file: absolute path of the static configuration file.

    Raises:
        ConfigurationError: if another hub looks after it at this moment.
    """
    recorded = _recorded(record, running, me, launch, config_file) if record is not None else Start()
    if isinstance(recorded, Start):
        for other in running.values():
            if is_of(other, config_file):
                return Replace(other.identity, "its start was not recorded")
    return recorded


def is_of(process: Running, config_file: str) -> bool:
    """True if a process is a Traefik of a static configuration file; an interpreter may stand in front."""
    return list(process.command[-2:]) == command("", config_file)[1:]


def _recorded(
    record: Record, running: Mapping[int, Running], me: Identity, launch: Launch, config_file: str
) -> Decision:
    hub = running.get(record.hub.pid)
    if hub is not None and hub.identity.is_same(record.hub) and not me.is_same(record.hub):
        raise ConfigurationError(
            f"Another hub that runs at this moment (process {record.hub.pid}) looks after a Traefik by the same "
            f"static_config_file ({config_file}). Stop that hub, or set another c.TraefikProxy.static_config_file."
        )
    traefik = running.get(record.traefik.pid)
    if traefik is None or not is_of(traefik, config_file):
        return Start()
    if not traefik.identity.is_same(record.traefik):
        return Replace(traefik.identity, "it is not the one that was recorded")
    changed = [name for name, digest in launch.digests().items() if record.digests.get(name) != digest]
    if changed:
        return Replace(traefik.identity, f"its {' and its '.join(changed)} changed")
    return Adopt(traefik.identity)


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _identity(found: Any) -> Identity:
    return Identity(int(found["pid"]), float(found["started"]), str(found["boot"]))
