"""Profiles of a Go program: what `go tool pprof` says of them, and which share each part of Traefik's work has.

A sample is a stack; it counts for the first part of which a frame is in it, so that the shares of all parts are one.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kvproxy.testing.servers.programs import ServerError

#: What is at work -> a frame that says so; names are those of Traefik 3.7, its libraries and Go's runtime.
PARTS: Final[Mapping[str, str]] = {
    "garbage collection": r"^runtime\.(gcBgMarkWorker|gcAssistAlloc|gcDrain|gcStart|gcMarkDone|bgsweep|bgscavenge)",
    "the profiler itself": r"^(runtime\.(blockevent|saveblockevent|mutexevent)|runtime/pprof\.|net/http/pprof\.)",
    "reading the store": r"/kvtools/|/go-redis/",
    "decoding the keys": r"/pkg/config/kv\.|/traefik/paerser/",
    "certificates": r"/pkg/tls\.",
    "rules: parsing and sorting": r"/pkg/muxer/http\.\(\*Muxer\)\.AddRoute",
    "building routers and services": r"/pkg/server\.\(\*RouterFactory\)|^main\.switchRouter",
    "copying, comparing and merging tables": (
        r"DeepCopy|^reflect\.(deepValueEqual|DeepEqual)|hashstructure|/pkg/provider/aggregator"
        r"|/pkg/server\.\(\*ConfigurationWatcher\)"
    ),
    "looking for the router": r"/pkg/muxer/http\.(\(\*matchersTree\)\.match|withRoutingPath)",
    "talking to the user's server": r"ReverseProxy|^net/http\.\(\*(persistConn|Transport)\)|/pkg/proxy/",
    "talking to the client": r"^net/http\.\(\*(conn|connReader|Server)\)\.",
    "Go's scheduler": r"^runtime\.(mcall|schedule|findRunnable|mstart|morestack|systemstack)",
}
REST: Final = "the rest"


@dataclass(frozen=True)
class Sample:
    """CPU milliseconds of a stack; the innermost function is its first."""

    milliseconds: float
    stack: tuple[str, ...]


def find_go() -> str:
    """The program `go`. Raises ServerError saying how to get it."""
    if path := shutil.which("go"):
        return path
    raise ServerError(
        "`go` is needed to read a profile; install Go (Debian: `apt install golang-go`) or put it on PATH."
    )


def read(profile: Path) -> list[Sample]:
    """All samples of a CPU profile. Raises ServerError with what `go tool pprof` says against it."""
    command = [find_go(), "tool", "pprof", "-traces", "-unit=ms", str(profile)]
    told = subprocess.run(command, capture_output=True, text=True)
    if told.returncode:
        raise ServerError(f"`go tool pprof` cannot read the profile: {told.stderr.strip()[-300:]}")
    return parse(told.stdout)


def parse(text: str) -> list[Sample]:
    """What `go tool pprof -traces -unit=ms` prints; a block is a stack, its first line has the milliseconds.

    >>> parse('Type: cpu\\n-----------+---\\n      20ms   runtime.memmove\\n             main.main (inline)\\n')
    [Sample(milliseconds=20.0, stack=('runtime.memmove', 'main.main'))]
    """
    samples = []
    for block in re.split(r"^-+\+-+$", text, flags=re.MULTILINE)[1:]:
        begin = re.search(r"^ *([\d.]+)ms +", block, re.MULTILINE)
        if begin:
            names = [line.strip().removesuffix(" (inline)") for line in block[begin.end() :].splitlines()]
            samples.append(Sample(float(begin[1]), tuple(filter(None, names))))
    return samples


def part_of(stack: Iterable[str]) -> str:
    """Which part of the work a stack belongs to."""
    frames = list(stack)
    for part, pattern in PARTS.items():
        if any(re.search(pattern, frame) for frame in frames):
            return part
    return REST


def parts(samples: Iterable[Sample]) -> dict[str, float]:
    """The share of each part, those without any left out."""
    return _shares((part_of(sample.stack), sample.milliseconds) for sample in samples)


def functions(samples: Iterable[Sample], most: int) -> dict[str, float]:
    """The shares of the functions that the CPU was in, not in what they call; the largest, so many at most."""
    shares = _shares((_short(sample.stack[0]), sample.milliseconds) for sample in samples if sample.stack)
    return dict(sorted(shares.items(), key=lambda item: -item[1])[:most])


def _shares(counted: Iterable[tuple[str, float]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, milliseconds in counted:
        found[name] = found.get(name, 0.0) + milliseconds
    whole = sum(found.values())
    return {name: value / whole for name, value in found.items()}


def _short(function: str) -> str:
    """A function's name without the place where its module comes from."""
    return re.sub(r"^(github\.com/traefik/traefik/v\d+|github\.com)/", "", function)
