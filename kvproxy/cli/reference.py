"""The reference page of the command line, made from the commands: ``python -m kvproxy.cli.reference``."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

import click

from .main import COMMANDS, group

_HEAD = """\
# Command line

<!-- Made by `python -m kvproxy.cli.reference > docs/reference/cli.md`; a test holds it. -->
"""


def reference() -> str:
    """The page, in Markdown."""
    context = click.Context(group, info_name="kvproxy")
    commands = ((name, group.get_command(context, name)) for name in COMMANDS)
    parts = [_HEAD, _prose(group.help)]
    parts += [_section(name, command) for name, command in commands if command is not None]
    return "\n".join(parts)


def _section(name: str, command: click.Command) -> str:
    arguments = [parameter for parameter in command.params if isinstance(parameter, click.Argument)]
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    usage = " ".join(["kvproxy", name, "[OPTIONS]", *map(_argument, arguments)])
    parts = [
        f"## kvproxy {name}\n",
        f"```text\n{usage}\n```\n",
        _prose(command.help),
        _table(options),
        _examples(command),
    ]
    return "\n".join(filter(None, parts))


def _prose(text: str | None) -> str:
    return inspect.cleandoc(text or "") + "\n"


def _argument(argument: click.Argument) -> str:
    name = "|".join(argument.type.choices) if isinstance(argument.type, click.Choice) else str(argument.name).upper()
    return name if argument.required else f"[{name}]"


def _table(options: Iterable[click.Option]) -> str:
    rows = [f"| {_names(option)} | {_help(option)} |" for option in options]
    return "\n".join(["| option | |", "|---|---|", *rows, ""]) if rows else ""


def _names(option: click.Option) -> str:
    value = "" if option.is_flag else f" {_value(option)}"
    names = [*option.opts, *option.secondary_opts]
    return ", ".join(f"`{name}{value}`" for name in names)


def _value(option: click.Option) -> str:
    if option.metavar:
        return option.metavar
    if isinstance(option.type, click.Choice):
        return "\\|".join(option.type.choices)
    # Ranges are called as the numbers that are in them.
    return option.type.name.removesuffix(" range").upper()


def _help(option: click.Option) -> str:
    more = [option.help or ""]
    if option.show_default and not option.is_flag:
        more.append(f"Default: `{option.default}`.")
    if option.envvar:
        more.append(f"Variable: `{option.envvar}`.")
    if option.multiple:
        more.append("May be repeated.")
    return " ".join(more)


def _examples(command: click.Command) -> str:
    lines = (command.epilog or "").partition("Examples:\n")[2].splitlines()
    return "```text\n" + "\n".join(line.strip() for line in lines) + "\n```\n"


if __name__ == "__main__":
    click.echo(reference(), nl=False)
