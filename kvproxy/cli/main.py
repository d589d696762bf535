"""The command ``kvproxy`` and the common parts of its subcommands.

No module of a command imports JupyterHub before the command runs: that takes a second, for which help and completion
must not wait.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any, Final, TypeVar

import click

from ..errors import ConfigurationError, KVProxyError

F = TypeVar("F", bound=Callable[..., Any])

#: The commands in the order of the help, each with its one-line help.
COMMANDS: Final = {
    "demo": "Start a complete hub on this machine, to try things out.",
    "check": "Check configuration, store and Traefik, and show remedies.",
    "routes": "Show all routes, and which Traefik serves them.",
    "static-config": "Print the static configuration for a Traefik of your own.",
    "migrate": "Copy routes from another store or from jupyterhub-traefik-proxy.",
    "completion": "Print a shell completion script.",
}


class Wrong(click.ClickException):
    """Ends the command with a message if the hub's configuration cannot be used."""

    #: Click's own exit code for wrong arguments.
    exit_code = 2


class Commands(click.Group):
    """The commands, each imported when it is used; kvproxy's errors become messages."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return a command, None if there is none of that name."""
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f".{name.replace('-', '_')}", __package__).command
        command.name, command.short_help = name, COMMANDS[name]
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command; suggest a similar one if there is none of that name."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if close := get_close_matches(args[0], COMMANDS, 1):
                said = f"{error.message.rstrip('.')}. Did you mean {close[0]!r}?"
                raise click.UsageError(said, ctx) from None
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except ConfigurationError as error:
            raise Wrong(str(error)) from None
        except KVProxyError as error:
            raise click.ClickException(str(error)) from None


def examples(*lines: str) -> str:
    """Return the examples at the end of a command's help."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def hub_options(function: F) -> F:
    """Add the options that select the hub."""
    argument = click.option(
        "--hub-argument",
        "hub_arguments",
        multiple=True,
        metavar="ARGUMENT",
        help="Another argument of the hub besides -f, such as --JupyterHub.ip=10.0.0.1; may be repeated.",
    )
    file = click.option(
        "-f",
        "--config",
        "config_file",
        default="jupyterhub_config.py",
        show_default=True,
        type=click.Path(),
        help="The hub's configuration file.",
    )
    return file(argument(function))


def json_option(function: F) -> F:
    """Add the option for machine-readable output."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "kvproxy demo",
        "kvproxy check -f /srv/jupyterhub/jupyterhub_config.py",
        "kvproxy routes --differing",
        "kvproxy COMMAND --help",
    ),
)
@click.version_option(package_name="kvproxy", prog_name="kvproxy")
def group() -> None:
    """Manage a JupyterHub whose routes are kept in a key-value store and served by Traefik.

    The hub's configuration is read as the hub reads it. Only `migrate --execute` writes to the store.
    """


def main(arguments: Sequence[str] | None = None, prog_name: str = "kvproxy") -> None:
    """Run the command line and exit with its status."""
    group.main(args=arguments, prog_name=prog_name)
