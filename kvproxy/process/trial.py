"""The words of Traefik itself about a configuration, before anything is started with it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

from ..errors import ConfigurationError
from ..traefik.static_config import deep_merge, static_file
from .launch import environment_for_traefik, write_private

#: Seconds that Traefik may take to read a file.
_PATIENCE: Final = 20.0
#: A name that no entry point has: Traefik reads its configuration, finds no such entry point, and asks nobody.
_NOWHERE: Final = "kvproxy-asks-nobody"
#: Fields of a log line that name the part which it is about.
_NAMED: Final = ("routerName", "serviceName", "middlewareName", "serversTransportName", "tlsStoreName")
#: A name with its provider, unless it is the file's or Traefik's own.
_OTHERS: Final = re.compile(r"@(?!file\b|internal\b)[A-Za-z]")
#: No proxy of the network's stands between this machine and itself.
_OPENER: Final = build_opener(ProxyHandler({}))
_REFUSED: Final = "command healthcheck error: "
#: Precedes the name of a plugin that Traefik does not have.
_PLUGIN: Final = "unknown plugin type: "
#: A provider that the trial does not have.
_ELSEWHERE: Final = "@elsewhere"


def try_static_configuration(
    binary: str, configuration: Mapping[str, Any], environ: Mapping[str, str], own: Mapping[str, str]
) -> None:
    """Let Traefik read a static configuration; nothing listens, and nothing is connected to.

    ``traefik healthcheck`` decodes the file as ``traefik`` does before it starts (``cmd/traefik``, 3.0 to 3.7), and
    then looks for the entry point of ``ping``, of which it is told one that is not there.

    Args:
        binary: path of the Traefik binary.
        configuration: what is to be in the file; it is written to a private temporary folder.
        environ: the hub's own variables.
        own: those set for Traefik.

    Raises:
        ConfigurationError: if Traefik refuses it, in its own words.
    """
    asked = deep_merge(configuration, {"ping": {"entryPoint": _NOWHERE}})
    with tempfile.TemporaryDirectory(prefix="kvproxy-") as folder:
        file = Path(folder) / "traefik.toml"
        write_private(file, static_file(asked, file.name))
        try:
            done = subprocess.run(
                [binary, "healthcheck", f"--configFile={file}"],
                capture_output=True,
                text=True,
                timeout=_PATIENCE,
                env=environment_for_traefik(environ, own),
                cwd=folder,
            )
        except (OSError, subprocess.SubprocessError):
            # The start says why it cannot be run.
            return
    if why := refusal(done.stdout + done.stderr):
        raise ConfigurationError(
            f"Traefik refuses its static configuration ({why}); correct c.TraefikProxy.extra_static_config."
        )


def refusal(printed: str) -> str:
    """Why Traefik refused to read its configuration, from what it printed; empty if it did not.

    >>> refusal('{"level":"error","error":"command healthcheck error: field not found, node: adress","message":"…"}')
    'field not found, node: adress'
    >>> refusal("Error calling healthcheck: ping: missing x entry point")
    ''
    """
    for said in _log_entries(printed):
        if str(said.get("error", "")).startswith(_REFUSED):
            return str(said["error"]).removeprefix(_REFUSED).rstrip(".")
    return ""


def try_dynamic_configuration(
    binary: str, dynamic: Mapping[str, Any], static: Mapping[str, Any], provider: str, seconds: float = 10.0
) -> list[str]:
    """Let a Traefik of its own load a dynamic configuration from a file, and tell what it complains of.

    It listens at free ports of the loopback interface only, has no store, and is stopped at once.

    Args:
        binary: path of the Traefik binary.
        dynamic: the configuration.
        static: Traefik's static configuration; it may refer to entry points, certificate resolvers and plugins there.
        provider: the provider that will read it, such as ``redis``.
        seconds: time that this may take.

    Returns:
        Traefik's errors, each once; none about what other providers are to bring, or if it could not be tried.
    """
    with tempfile.TemporaryDirectory(prefix="kvproxy-") as folder, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        rules, file, log = (Path(folder) / name for name in ("rules.yml", "traefik.yml", "log"))
        text = json.dumps(deep_merge(dynamic, _PROBE))
        # A name that Traefik's own file brings must not be looked for in this one.
        text = text if provider == "file" else text.replace("@file", _ELSEWHERE)
        write_private(rules, text.replace(f"@{provider}", "@file"))
        listening = {name: {"address": "127.0.0.1:0"} for name in static["entryPoints"]}
        trial = {
            "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
            "api": {},
            "log": {"format": "json", "level": "ERROR"},
            "entryPoints": {**listening, _NOWHERE: {"address": f"127.0.0.1:{port}"}},
            "providers": {"file": {"filename": str(rules), "watch": False}},
        }
        write_private(file, json.dumps(trial))
        with (
            log.open("wb") as output,
            subprocess.Popen(
                [binary, f"--configFile={file}"],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=environment_for_traefik(os.environ, {}),
            ) as traefik,
        ):
            try:
                loaded = _loads(traefik, f"http://127.0.0.1:{port}/api/http/routers/{_NOWHERE}@file", seconds)
            finally:
                traefik.kill()
        return complaints(log.read_text(errors="replace"), _brought(static)) if loaded else []


#: Shows, by the API, that a configuration was loaded.
_PROBE: Final = {
    "http": {
        "routers": {_NOWHERE: {"rule": "PathPrefix(`/api`)", "service": "api@internal", "entryPoints": [_NOWHERE]}}
    }
}


def _loads(traefik: subprocess.Popen[bytes], url: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and traefik.poll() is None:
        try:
            with _OPENER.open(url, timeout=1):
                return True
        except OSError as error:
            if isinstance(error, HTTPError):
                # Python 3.14 warns of one that is not closed.
                error.close()
            time.sleep(0.05)
    return False


def _brought(static: Mapping[str, Any]) -> set[str]:
    """Names of certificate resolvers and plugins, which the trial's Traefik does not have."""
    experimental = static.get("experimental", {})
    sections = (static.get("certificatesResolvers"), experimental.get("plugins"), experimental.get("localPlugins"))
    return {name for section in sections for name in section or ()}


def complaints(log: str, brought: Collection[str] = ()) -> list[str]:
    """The errors in a log of Traefik's (JSON), without those about objects of other providers than the file's.

    Args:
        log: its lines.
        brought: names of certificate resolvers and plugins of the static configuration.

    >>> complaints('{"level":"error","routerName":"mine@file","error":"bad rule","message":"…"}')
    ['bad rule (mine)']
    """
    found: dict[str, None] = {}
    for said in _log_entries(log):
        if said.get("level") != "error" or said.get("certificateResolver") in brought:
            continue
        text = str(said.get("error") or said.get("message"))
        if _OTHERS.search(text) or text.rpartition(_PLUGIN)[2] in brought:
            continue
        named = next((str(said[kind]) for kind in _NAMED if kind in said), "").removesuffix("@file")
        found[f"{text.replace('@file', '')}{f' ({named})' if named else ''}"] = None
    return list(found)


def _log_entries(text: str) -> Iterator[dict[str, Any]]:
    """The lines of a log that are JSON objects; Traefik prints others too."""
    for line in text.splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if isinstance(said, dict):
            yield said
