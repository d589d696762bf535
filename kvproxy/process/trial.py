"""The words of Traefik itself about a static configuration, before anything is started with it."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ..errors import ConfigurationError
from ..traefik.static_config import deep_merge, static_file
from .launch import environment_for_traefik, write_private

#: Seconds that Traefik may take to read a file.
_PATIENCE: Final = 20.0
#: A name that no entry point has: Traefik reads its configuration, finds no such entry point, and asks nobody.
_NOWHERE: Final = "kvproxy-asks-nobody"
_REFUSED: Final = "command healthcheck error: "


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
    for line in printed.splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if isinstance(said, dict) and str(said.get("error", "")).startswith(_REFUSED):
            return str(said["error"]).removeprefix(_REFUSED).rstrip(".")
    return ""
