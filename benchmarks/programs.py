"""The programs of the load measurements: nginx and wrk, from PATH or out of Debian's packages."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kvproxy.testing.servers.debian import debian_program
from kvproxy.testing.servers.programs import ServerError

#: Libraries that the two need and that a small system may lack, and Debian's packages that carry them.
_PACKAGES = {
    "libluajit-5.1.so.2": "libluajit2-5.1-2",
    "libpcre2-8.so.0": "libpcre2-8-0",
    "libssl.so.3": "libssl3",
    "libcrypto.so.3": "libssl3",
    "libcrypt.so.1": "libcrypt1",
    "libz.so.1": "zlib1g",
}


@dataclass(frozen=True)
class Tool:
    """A program. libraries: directories for LD_LIBRARY_PATH, empty if the system has all it needs."""

    path: str
    libraries: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """The environment to run it in."""
        return with_libraries(self.libraries)


def with_libraries(libraries: str) -> dict[str, str]:
    """This process's environment, in which a program finds libraries in these directories too."""
    return {**os.environ, "LD_LIBRARY_PATH": libraries} if libraries else dict(os.environ)


def find_tool(package: str, program: str) -> Tool:
    """A program from PATH, or unpacked from the Debian package of that name.

    program: its path inside the package, such as ``usr/bin/wrk``. Raises ServerError with one sentence if it cannot be
    had.
    """
    # Debian keeps nginx where only root looks.
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    if path := shutil.which(Path(program).name, path=places):
        return Tool(path)
    try:
        path = str(debian_program(package, "", program))
        return Tool(path, _libraries(path))
    except ServerError as error:
        raise ServerError(f"{package} is needed to measure requests; put it on PATH. {error}") from None


def _libraries(program: str) -> str:
    """The directories of what the system's loader does not find, fetched if need be."""
    folders: list[str] = []
    while missing := _missing(program, os.pathsep.join(folders)):
        folder = _folder_of(missing[0])
        if folder in folders:
            raise ServerError(f"{missing[0]} in {folder} cannot be used.")
        folders.append(folder)
    return os.pathsep.join(folders)


def _folder_of(library: str) -> str:
    if library not in _PACKAGES:
        raise ServerError(f"This system has no {library}.")
    # Some releases keep what the system needs to start outside of /usr.
    places = [f"{root}/{platform.machine()}-linux-gnu/{library}" for root in ("usr/lib", "lib")]
    for place in places[:-1]:
        with contextlib.suppress(ServerError):
            return str(debian_program(_PACKAGES[library], "", place).parent)
    return str(debian_program(_PACKAGES[library], "", places[-1]).parent)


def _missing(program: str, libraries: str) -> list[str]:
    told = subprocess.run(["ldd", program], env=with_libraries(libraries), capture_output=True, text=True).stdout
    return re.findall(r"(\S+) => not found", told)
