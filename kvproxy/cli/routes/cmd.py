"""``kvproxy routes``."""

from __future__ import annotations

import asyncio
import contextlib

import click

from ..main import examples, hub_options


@click.command(
    epilog=examples(
        "kvproxy routes",
        "kvproxy routes --prefix /user/ada/",
        "kvproxy routes --differing --watch",
        "kvproxy routes --json | jq '.routes[] | select(.differs)'",
        "kvproxy routes --watch | grep --line-buffered rejected",
    )
)
@hub_options
@click.option("--prefix", default="", help="Only routes whose routespec begins with this.")
@click.option("--differing", is_flag=True, help="Only routes whose stored or served state is wrong.")
@click.option("--watch", is_flag=True, help="Repeat until Ctrl-C; in a pipe, print changes.")
@click.option(
    "--interval",
    default=2.0,
    show_default=True,
    type=click.FloatRange(min=0.1),
    help="Seconds between two comparisons; longer if one takes long.",
)
@click.option(
    "--json/--table", "as_json", default=None, help="JSON or a table; without either, a table on a terminal only."
)
@click.option("--pager/--no-pager", default=True, help="Use a pager for a table that is longer than the terminal.")
def command(
    config_file: str,
    hub_arguments: tuple[str, ...],
    prefix: str,
    differing: bool,
    watch: bool,
    interval: float,
    as_json: bool | None,
    pager: bool,
) -> None:
    """Show all routes, and which Traefik serves them.

    Each route is shown as the store has it, with its state at each Traefik; routes that differ come first. In a pipe,
    or with --json, the output is one JSON document with one route per line. With --watch, it is one line of JSON per
    change.
    """
    from ..console import on_terminal
    from ..hub.config import load_hub
    from .follow import follow, look_once
    from .output import Choice, print_document, print_table

    hub = load_hub(config_file, hub_arguments)
    choice = Choice(prefix, differing)
    json_wanted = not on_terminal() if as_json is None else as_json
    if watch:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(follow(hub, choice, interval, json_wanted))
        return
    held, seen, rows = asyncio.run(look_once(hub))
    if json_wanted:
        print_document(held, seen, choice.of(rows))
    else:
        print_table(hub.proxy.store_place(), held, seen, rows, choice, pager)
