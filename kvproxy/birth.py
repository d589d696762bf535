"""From what a Traefik was started, so that a later hub can tell whether it may go on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Origin:
    """Digests of all that a Traefik is started from.

    Args:
        binary: the program, which an update replaces.
        configuration: the static configuration.
        environment: the variables that the hub sets.
        certificates: the contents of files that the dynamic configuration names.
    """

    binary: str
    configuration: str
    environment: str
    certificates: str

    def differences(self, other: Origin) -> list[str]:
        """Names of what is not the same."""
        mine, others = asdict(self), asdict(other)
        return [name for name in mine if mine[name] != others[name]]


@dataclass(frozen=True)
class Birth:
    """Which process it is, and from what it was started.

    Args:
        pid: its number.
        born: when it was started, by the machine's clock, to tell it from another one of the same number.
        origin: from what.
    """

    pid: int
    born: str
    origin: Origin

    def encode(self) -> str:
        """As text for a file."""
        return json.dumps(asdict(self))


def decode_birth(text: str) -> Birth | None:
    """What a file says, None if it is nothing of ours."""
    try:
        fields = json.loads(text)
        birth = Birth(fields["pid"], fields["born"], Origin(**fields["origin"]))
    except (ValueError, TypeError, KeyError):
        return None
    return birth if isinstance(birth.pid, int) and isinstance(birth.born, str) else None


def origin(binary: Path, configuration: str, environment: Mapping[str, str], files: Iterable[Path]) -> Origin:
    """From what a Traefik is going to be started.

    Args:
        binary: the program.
        configuration: the text of the static configuration.
        environment: the variables that the hub sets.
        files: certificates and keys that the dynamic configuration names; one that cannot be read counts as empty.
    """
    known = binary.stat()
    program = f"{binary.resolve()} {known.st_size} {known.st_mtime_ns}"
    contents = [file.read_bytes() if file.is_file() else b"" for file in files]
    return Origin(
        _digest(program.encode()),
        _digest(configuration.encode()),
        _digest(json.dumps(dict(environment), sort_keys=True).encode()),
        _digest(*contents),
    )


def _digest(*texts: bytes) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for text in texts:
        digest.update(len(text).to_bytes(8, "big") + text)
    return digest.hexdigest()
