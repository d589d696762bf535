"""``kvproxy completion``."""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import Final

import click
from click.shell_completion import get_completion_class

from .main import examples

SHELLS: Final = ("bash", "zsh", "fish")


@click.command(
    epilog=examples(
        "kvproxy completion bash > ~/.local/share/bash-completion/completions/kvproxy",
        "kvproxy completion zsh > ~/.zfunc/_kvproxy",
        "kvproxy completion fish > ~/.config/fish/completions/kvproxy.fish",
    )
)
@click.argument("shell", type=click.Choice(SHELLS), required=False)
@click.pass_context
def command(context: click.Context, shell: str | None) -> None:
    """Print a shell completion script.

    Without SHELL, it is for your own shell ($SHELL).
    """
    name = shell or PurePath(os.environ.get("SHELL", "")).name
    made = get_completion_class(name) if name in SHELLS else None
    if made is None:
        raise click.UsageError(f"Name the shell: {', '.join(SHELLS)}.", context)
    click.echo(made(context.find_root().command, {}, "kvproxy", "_KVPROXY_COMPLETE").source())
