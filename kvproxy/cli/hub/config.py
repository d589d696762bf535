"""Loading a hub's configuration as the hub does, and its proxy, without starting or writing anything."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NoReturn

from jupyterhub.app import JupyterHub
from traitlets import TraitError

from ...errors import ConfigurationError
from ...plugins import proxy_class_for, proxy_names
from ...proxy.base import KVTraefikProxy
from ...traefik.setup.credentials import ApiAccess

#: The error of traitlets about a proxy class that cannot be found.
_MISNAMED: Final = re.compile(r"'proxy_class' trait .* but '(.*)' could not be imported")
#: The error of traitlets about a proxy class that is a module, or another class.
_NO_PROXY: Final = re.compile(r"'proxy_class' trait .* not the \w+ <?\w* ?'([\w.]+)'")
#: Python's default representation of an object, of which only the class is useful.
_OBJECT: Final = re.compile(r"<(?:\w+\.)*(\w+) object at 0x[0-9a-f]+>")
#: The package whose names and classes are accepted too.
_PEER: Final = "jupyterhub_traefik_proxy"
#: Names of traits whose value may be secret, so it is left out of messages.
_SECRET: Final = re.compile(r"password|token|secret|key|kwargs|url|config|env")


@dataclass(frozen=True)
class Hub:
    """A hub that is configured but not started.

    Args:
        app: JupyterHub's application.
        proxy: its proxy, created as by the hub.
        file: the configuration file.
        secret_from: source of the cookie secret, for messages; empty if it was not found.
        secret_problem: a sentence about a cookie secret that was not found; empty if it was.
        secret_to_come: the file that the hub creates at its first start; empty if one exists, here or beside the file.
        warnings: the warnings of traitlets and JupyterHub about the configuration.
    """

    app: Any
    proxy: KVTraefikProxy
    file: Path
    secret_from: str
    secret_problem: str
    secret_to_come: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def access(self) -> ApiAccess | None:
        """Credentials for Traefik's API: the hub's, or else those of the configured user; None if there are neither.

        The hub's own token is derived from its cookie secret.
        """
        proxy = self.proxy
        if self.secret_from or not proxy.sets_up:
            return proxy.api_access()
        if proxy.traefik_api_password:
            return ApiAccess(proxy.traefik_api_username or "jupyterhub", proxy.traefik_api_password)
        return None


class _Refused(Exception):
    """Raised where JupyterHub would exit."""


class _Collector(logging.Handler):
    """Keeps log messages from warnings upwards."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(" ".join(record.getMessage().split()))


def load_hub(file: str, arguments: Sequence[str] = ()) -> Hub:
    """Read the hub's configuration.

    Args:
        file: its path.
        arguments: further arguments of the hub's command line.

    Raises:
        ConfigurationError: if the hub would not start with it, or does not use one of kvproxy's proxies.
    """
    if not Path(file).is_file():
        raise ConfigurationError(f"There is no file {file}; name the hub's configuration file with -f.")
    if Path(file).suffix not in {".py", ".json"}:
        raise ConfigurationError(f"JupyterHub reads nothing from {file}; the file's name must end in .py.")
    collector = _Collector()
    log = logging.Logger("kvproxy", logging.WARNING)
    log.addHandler(collector)
    # A configuration file may ask for the instance, as in the hub.
    JupyterHub.clear_instance()
    try:
        app = JupyterHub.instance(log=log)
        app.exit = _refuse  # type: ignore[assignment, method-assign]
        # The output of a configuration file must not mix with that of the command.
        with contextlib.redirect_stdout(sys.stderr):
            _load(app, file, arguments, collector)
            secret_from, problem, to_come = _load_secret(app, file)
            proxy = _make_proxy(app, file)
    finally:
        JupyterHub.clear_instance()
    return Hub(app, proxy, Path(file), secret_from, problem, to_come, tuple(dict.fromkeys(collector.said)))


def _refuse(status: int = 0) -> NoReturn:
    raise _Refused(status)


def _load(app: Any, file: str, arguments: Sequence[str], collector: _Collector) -> None:
    """Do the first steps of ``JupyterHub.initialize`` (5.0 to 6.1), before it logs anything."""
    try:
        app.parse_command_line(["-f", file, *arguments])
        if app.extra_args:
            raise ConfigurationError(f"The hub does not take the argument {app.extra_args[0]!r}.")
        app.load_config_file(app.config_file)
    except _Refused as error:
        raise _unusable(file, error.__context__) from None
    except ConfigurationError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigurationError(
            f"{file}{_line(error, file)} cannot be run: {_name(error)}.{_without_import(error)}"
        ) from None
    finally:
        # The error says that it gives up.
        collector.said = [text for text in collector.said if not text.startswith("Bad config encountered")]


def _choice() -> str:
    """Return the names of kvproxy's proxies, for messages."""
    *names, last = [f'"{name}"' for name in proxy_names()]
    return f"{', '.join(names)} or {last}"


def _misnamed(file: str, name: str, why: str = "cannot import") -> ConfigurationError:
    close = get_close_matches(name, proxy_names(), 1)
    return ConfigurationError(
        f"JupyterHub would refuse {file}: it {why} c.JupyterHub.proxy_class = {name!r}. "
        + (f'Did you mean "{close[0]}"? ' if close else "")
        + f"kvproxy's are {_choice()}."
    )


def _unusable(file: str, error: BaseException | None) -> ConfigurationError:
    if misnamed := _MISNAMED.search(str(error)):
        return _misnamed(file, misnamed[1])
    if other := _NO_PROXY.search(str(error)):
        return _misnamed(file, other[1], "finds no proxy class in")
    return ConfigurationError(f"JupyterHub would refuse {file}: {_trait_text(error) if error else 'it says no more'}")


def _trait_text(error: BaseException) -> str:
    """Return the error of traitlets about an invalid value, without the value if it may be secret."""
    text = _OBJECT.sub(r"a \1", " ".join(str(error).split()))
    trait = re.search(r"'(\w+)' trait", text)
    if trait is not None and _SECRET.search(trait[1]):
        text = text.partition(", not ")[0]
    return text.rstrip(".") + "."


def _line(error: BaseException, file: str) -> str:
    """Return ``:12`` if the 12th line of the file raised the error."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).name == Path(file).name:
        return f":{error.lineno}"
    frames = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if _same(frame.filename, file)]
    return f":{frames[-1]}" if frames else ""


def _same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _without_import(error: BaseException) -> str:
    """Return the remedy for an import of a class of jupyterhub-traefik-proxy."""
    if not isinstance(error, ImportError) or (error.name or "").partition(".")[0] != _PEER:
        return ""
    return f" Remove the import and name the class as text: set c.JupyterHub.proxy_class to {_choice()}."


def _name(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
    return f"{type(error).__name__}: {text}".rstrip(".: ")


def _load_secret(app: Any, file: str) -> tuple[str, str, str]:
    """Load the hub's cookie secret, without creating one; return its source, the problem, and its future file."""
    variable = app.traits()["cookie_secret"].metadata.get("env")
    path = os.path.abspath(os.path.expanduser(app.cookie_secret_file))
    if app.cookie_secret:
        where = "c.JupyterHub.cookie_secret"
    elif os.environ.get(variable):
        where = f"the variable {variable}"
    elif os.path.exists(path):
        where = path
    else:
        beside = Path(file).absolute().parent / app.cookie_secret_file
        hint = (
            f"there is one at {beside}"
            if beside.exists()
            else f"it is made at the hub's first start, unless {variable} has it"
        )
        problem = (
            f"There is no cookie secret at {path} ({hint}); run this as the hub's user, in the directory and with the "
            "environment that the hub is started with."
        )
        return "", problem, "" if beside.exists() else path
    try:
        app.init_secrets()
    except (_Refused, ValueError, OSError):
        problem = f"The cookie secret in {where} cannot be used; run this as the hub's user, or see the hub's log."
        return "", problem, ""
    return where, "", ""


def _make_proxy(app: Any, file: str) -> KVTraefikProxy:
    """Create the proxy as ``JupyterHub.init_hub`` and ``init_proxy`` do."""
    chosen = app.proxy_class
    if not issubclass(chosen, KVTraefikProxy):
        meant = proxy_class_for(chosen.__name__)
        raise ConfigurationError(
            f"{file} makes the hub use {chosen.__module__}.{chosen.__name__}, which is not one of kvproxy's proxies; "
            "set c.JupyterHub.proxy_class " + (f'= "{meant}".' if meant else f"to {_choice()}.")
        )
    try:
        app.init_hub()
        app.init_proxy()
    except TraitError as error:
        raise _unusable(file, error) from None
    proxy: KVTraefikProxy = app.proxy
    return proxy
