"""Programs out of Debian packages, unpacked without installing them and without root.

Some servers are in no package index that Python reads, and Debian's archive keeps old and new versions side by side.
The archive's address is the one that this machine's own apt uses.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from kvproxy.testing.programs import ServerError

_TOOLS: Final = ("apt-get", "dpkg-deb")
_SECONDS: Final = 300  # for one step, over a slow line


def debian_program(package: str, suite: str, program: str) -> Path:
    """The path of a program that a Debian package carries; fetched once, then kept in the user's cache directory.

    Args:
        package: such as ``"consul"``.
        suite: Debian's release, such as ``"bullseye"``; empty for that of this machine.
        program: the path inside the package, such as ``"usr/bin/consul"``.

    Raises:
        ServerError: if this machine's apt has no Debian archive, or the package cannot be fetched from it.
    """
    suite = suite or _own_suite()
    kept = _cache() / f"{package}-{suite}"
    if not (kept / program).exists():
        _fetch(package, suite, kept)
    if not (kept / program).exists():
        raise ServerError(f"Debian's package {package} of {suite} has no {program}.")
    return kept / program


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "kvproxy" / "debian"


def _own_suite() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/etc/os-release").read_text().splitlines():
            if line.startswith("VERSION_CODENAME="):
                return line.partition("=")[2].strip().strip('"')
    return ""


def _fetch(package: str, suite: str, kept: Path) -> None:
    if missing := [tool for tool in _TOOLS if not shutil.which(tool)]:
        raise ServerError(f"{package} cannot be fetched: this machine has no {missing[0]}; install {package} yourself.")
    source = _archive(package)
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as made:
        work = Path(made)
        for folder in ("lists/partial", "cache/archives/partial", "unpacked"):
            (work / folder).mkdir(parents=True)
        (work / "sources.list").write_text(f"deb {source} {suite} main\n")
        (work / "status").touch()
        options = _apt_options(work)
        _run(package, ["apt-get", *options, "update"], work)
        _run(package, ["apt-get", *options, "download", package], work)
        found = list(work.glob("*.deb"))
        _run(package, ["dpkg-deb", "-x", str(found[0]), "unpacked"], work)
        # Somebody else may have been faster, which is as good.
        with contextlib.suppress(OSError):
            (work / "unpacked").rename(kept)


def _apt_options(work: Path) -> list[str]:
    settings = {
        "Dir::Etc::sourcelist": str(work / "sources.list"),
        "Dir::Etc::sourceparts": "-",
        "Dir::State::Lists": str(work / "lists"),
        # As if nothing was installed: apt would look for that very version, which may be from another archive.
        "Dir::State::status": str(work / "status"),
        "Dir::Cache": str(work / "cache"),
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        # Everything is written to a directory of this user's own.
        "Debug::NoLocking": "1",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Acquire::Retries": "2",
    }
    return [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]


def debian_libraries(libraries: Mapping[str, str]) -> dict[str, str]:
    """Environment variables that let an unpacked program find shared libraries, which are unpacked too.

    libraries: a file of each by the name of its package.

    Raises ServerError if one cannot be fetched.
    """
    folder = f"usr/lib/{sysconfig.get_config_var('MULTIARCH')}"
    found = [debian_program(package, "", f"{folder}/{file}").parent for package, file in libraries.items()]
    return {"LD_LIBRARY_PATH": os.pathsep.join(map(str, found))}


def _archive(package: str) -> str:
    """What stands in a line of sources.list between ``deb`` and the suite, as this machine's own apt has it."""
    form = "$(REPO_URI) $(RELEASE) $(COMPONENT) [$(SIGNED_BY)]"
    lines = _run(package, ["apt-get", "indextargets", "--format", form], Path.cwd()).splitlines()
    own = _own_suite()
    for line in lines:
        # The key ring is left out, or printed as it stands here, where the source names none.
        if found := re.fullmatch(rf"(\S+) {re.escape(own)} main \[(.*)\]", line):
            key = found.group(2)
            return (f"[signed-by={key}] " if key.startswith("/") else "") + found.group(1)
    raise ServerError(f"{package} cannot be fetched: this machine's apt knows no Debian archive; install it yourself.")


def _run(package: str, command: Sequence[str], directory: Path) -> str:
    try:
        done = subprocess.run(
            command, cwd=directory, capture_output=True, text=True, timeout=_SECONDS, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServerError(f"{package} cannot be fetched: {error}.") from None
    if done.returncode:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        why = said[-1].strip().rstrip(".") if said else f"exit status {done.returncode}"
        raise ServerError(f"{package} cannot be fetched: {' '.join(command[:1])} says: {why}.")
    return done.stdout
