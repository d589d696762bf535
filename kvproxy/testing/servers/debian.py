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

from kvproxy.testing.servers.programs import ServerError

_TOOLS: Final = ("apt-get", "dpkg-deb")
_MULTIARCH: Final = f"lib/{sysconfig.get_config_var('MULTIARCH')}"
#: Folders of libraries; the last two are named in other libraries by their full path, which is not here.
_LIBRARIES: Final = (f"usr/{_MULTIARCH}", _MULTIARCH, f"usr/{_MULTIARCH}/pulseaudio", f"usr/{_MULTIARCH}/nss")
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
    return _fetched(package, suite, program, _cache() / f"{package}-{suite}")


def debian_with_libraries(package: str, program: str, libraries: Sequence[str]) -> tuple[Path, dict[str, str]]:
    """A program of a Debian package of this machine's release, and environment variables with which it finds libraries.

    Fetched once, then kept as with `debian_program`.

    Args:
        package: such as ``"haproxy"``.
        program: the path inside the package.
        libraries: packages of libraries that a small installation may lack.

    Raises:
        ServerError: if this machine's apt has no Debian archive, or the packages cannot be fetched from it.
    """
    suite = _own_suite()
    kept = _cache() / f"{package}-{suite}-with-libraries"
    return _fetched(package, suite, program, kept, libraries), _installed_environment(kept)


def _fetched(package: str, suite: str, program: str, kept: Path, libraries: Sequence[str] = ()) -> Path:
    if not (kept / program).exists():
        _fetch(package, suite, kept, libraries)
    if not (kept / program).exists():
        raise ServerError(f"Debian's package {package} of {suite} has no {program}.")
    return kept / program


def debian_installation(package: str, program: str) -> tuple[Path, dict[str, str]]:
    """A program of a Debian package, and environment variables with which it finds its libraries and fonts.

    All that the package needs and this machine lacks comes along, as with ``apt-get install``, of this release and its
    security updates; so the libraries need not be listed of a large program. Fetched once, then kept as with
    `debian_program`.

    Args:
        package: such as ``"chromium"``.
        program: the path inside the package, such as ``"usr/lib/chromium/chromium"``.

    Raises:
        ServerError: if this machine's apt has no Debian archive, or the packages cannot be fetched from it.
    """
    kept = _cache() / f"{package}-{_own_suite()}-installed"
    if not (kept / program).exists():
        shutil.rmtree(kept, ignore_errors=True)
        _fetch_installation(package, kept)
    if not (kept / program).exists():
        raise ServerError(f"{package} cannot be fetched: apt-get says that it is installed, but {program} is missing.")
    return kept / program, _installed_environment(kept)


def _installed_environment(folder: Path) -> dict[str, str]:
    found = [str(folder / libraries) for libraries in _LIBRARIES if (folder / libraries).is_dir()]
    environment = {"LD_LIBRARY_PATH": os.pathsep.join(found)} if found else {}
    if (folder / "etc/fonts/fonts.conf").exists():
        # They came along because this machine has none.
        environment["FONTCONFIG_SYSROOT"] = str(folder)
    return environment


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "kvproxy" / "debian"


def _own_suite() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/etc/os-release").read_text().splitlines():
            if line.startswith("VERSION_CODENAME="):
                return line.partition("=")[2].strip().strip('"')
    return ""


def _fetch(package: str, suite: str, kept: Path, libraries: Sequence[str]) -> None:
    _check_tools(package)
    # As if nothing was installed: apt would look for that very version, which may be from another archive.
    settings = {"Dir::State::status": "status"}
    _unpack(package, kept, [f"{_archive(package)} {suite}"], settings, ["download", package, *libraries])


def _fetch_installation(package: str, kept: Path) -> None:
    _check_tools(package)
    own = _own_suite()
    sources = [f"{_archive(package)} {own}"]
    updates = {f"{own}-security", f"{own}-updates"}
    sources += [f"{archive} {suite}" for archive, suite in _archives(package) if suite in updates]
    command = ["install", "--download-only", "--no-install-recommends", "--yes", package]
    _unpack(package, kept, sources, {}, command)


def _check_tools(package: str) -> None:
    if missing := [tool for tool in _TOOLS if not shutil.which(tool)]:
        raise ServerError(f"{package} cannot be fetched: this machine has no {missing[0]}; install {package} yourself.")


def _unpack(
    package: str, kept: Path, sources: Sequence[str], settings: Mapping[str, str], command: Sequence[str]
) -> None:
    """Have apt-get fetch something, and unpack it all into one folder, which is there whole or not at all."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as made:
        work = Path(made)
        for folder in ("lists/partial", "cache/archives/partial", "unpacked"):
            (work / folder).mkdir(parents=True)
        (work / "sources.list").write_text("".join(f"deb {source} main\n" for source in sources))
        (work / "status").touch()
        options = _apt_options(work, settings)
        _run(package, ["apt-get", *options, "update"], work)
        _run(package, ["apt-get", *options, *command], work)
        for found in sorted([*work.glob("*.deb"), *(work / "cache" / "archives").glob("*.deb")]):
            _run(package, ["dpkg-deb", "-x", str(found), "unpacked"], work)
        # Another process may have been faster, which is as good.
        with contextlib.suppress(OSError):
            (work / "unpacked").rename(kept)


def _apt_options(work: Path, settings: Mapping[str, str]) -> list[str]:
    """Options that keep apt to that directory; the settings' values are names in it."""
    chosen = {name: str(work / value) for name, value in settings.items()} | {
        "Dir::Etc::sourcelist": str(work / "sources.list"),
        "Dir::Etc::sourceparts": "-",
        "Dir::State::Lists": str(work / "lists"),
        "Dir::Cache": str(work / "cache"),
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        # Everything is written to a directory of this user's own.
        "Debug::NoLocking": "1",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Acquire::Retries": "2",
    }
    return [part for name, value in chosen.items() for part in ("-o", f"{name}={value}")]


def _archive(package: str) -> str:
    """The part of a line of sources.list between ``deb`` and the suite, as this machine's own apt has it."""
    own = _own_suite()
    for archive, suite in _archives(package):
        if suite == own:
            return archive
    raise ServerError(f"{package} cannot be fetched: this machine's apt knows no Debian archive; install it yourself.")


def _archives(package: str) -> list[tuple[str, str]]:
    """Of each archive that this machine's apt knows, the same, and its suite."""
    form = "$(REPO_URI) $(RELEASE) $(COMPONENT) [$(SIGNED_BY)]"
    found = []
    for line in _run(package, ["apt-get", "indextargets", "--format", form], Path.cwd()).splitlines():
        # The key ring is left out, or printed as it stands here, where the source names none.
        if match := re.fullmatch(r"(\S+) (\S+) main \[(.*)\]", line):
            uri, suite, key = match.groups()
            found.append(((f"[signed-by={key}] " if key.startswith("/") else "") + uri, suite))
    return list(dict.fromkeys(found))


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
