"""``kvproxy check``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from ...errors import ConfigurationError, KVProxyError
from ..main import Wrong, examples, hub_options, json_option

if TYPE_CHECKING:
    from .findings import Finding

_STYLES: Final = {"ok": "green", "warning": "yellow", "error": "bold red"}


@click.command(
    epilog=examples(
        "kvproxy check",
        "kvproxy check -f /srv/jupyterhub/jupyterhub_config.py --strict",
        "kvproxy check --json | jq -r '.findings[] | select(.level == \"error\") | .said'",
    )
)
@hub_options
@click.option("--strict", is_flag=True, help="Count warnings as errors.")
@json_option
@click.pass_context
def command(
    context: click.Context, config_file: str, hub_arguments: tuple[str, ...], strict: bool, as_json: bool
) -> None:
    """Check configuration, store and Traefik, and show remedies.

    Checks the configuration, the store (rights, persistence, notifications, contents), Traefik (version, API, entry
    points, every replica), certificates, file permissions and clocks. Each line says ok, warning or error. Nothing is
    written. Run it as the hub's user in the directory in which the hub is started.

    The exit status is 0 if there is no error, 1 if there is one, 2 if the configuration cannot be used. With --json, a
    configuration that cannot be used is a finding as well.
    """
    from ..console import dump
    from ..hub.config import load_hub
    from .findings import exit_status, refused
    from .run import examine

    try:
        findings = asyncio.run(examine(load_hub(config_file, hub_arguments)))
        status = exit_status(findings, strict)
    except KVProxyError as problem:
        if not as_json:
            raise
        findings = [refused(problem)]
        status = Wrong.exit_code if isinstance(problem, ConfigurationError) else 1
    if as_json:
        report = {"ok": status == 0, "findings": [finding.as_dict() for finding in findings]}
        click.echo(dump(report, indent=2))
    else:
        _print(findings)
    context.exit(status)


def _print(findings: Sequence[Finding]) -> None:
    from collections import Counter

    from rich.table import Table
    from rich.text import Text

    from ..._text import counted
    from ..console import console, on_terminal, printable

    out = console()
    if not on_terminal():
        for one in findings:
            click.echo(printable(" ".join(filter(None, (f"{one.level.value:8}{one.about}: {one.said}", one.advice)))))
        return
    table = Table.grid(padding=(0, 2, 0, 0))
    # A truncated path or URL could not be copied.
    for overflow in ("ignore", "fold", "fold"):
        table.add_column(overflow=overflow)
    for one in findings:
        said = Text(printable(one.said))
        if one.advice:
            said.append(f"\n{printable(one.advice)}", style="italic")
        table.add_row(Text(one.level.value, style=_STYLES[one.level.value]), Text(one.about, style="dim"), said)
    out.print(table)
    counts = Counter(one.level.value for one in findings)
    told = f"{counts['ok']} ok, {counted(counts['warning'], 'warning')}, {counted(counts['error'], 'error')}"
    out.print(Text(told, style="bold"))
