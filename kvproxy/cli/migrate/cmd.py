"""``kvproxy migrate``."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import click

from ..main import examples, hub_options, json_option

if TYPE_CHECKING:
    from .plan import Step
    from .run import Outcome, Wish

#: Routes that are listed on a terminal.
_LISTED: Final = 30
#: The steps of a migration, in words, and the colour of each line.
_KINDS: Final = {
    "add": ("to add", "green"),
    "change": ("to change", "yellow"),
    "keep": ("there already", None),
    "refuse": ("that cannot be migrated", "red"),
}


@click.command(
    epilog=examples(
        "kvproxy migrate --from-peer",
        "kvproxy migrate --from-peer --delete-old --execute",
        "kvproxy migrate --from etcd://10.0.0.5:2379 --execute",
        "kvproxy migrate --from old/jupyterhub_config.py --from-peer",
        "kvproxy migrate --to-peer --execute",
    )
)
@hub_options
@click.option(
    "--from",
    "source",
    default="",
    metavar="SOURCE",
    envvar="KVPROXY_MIGRATE_FROM",
    show_envvar=True,
    help="The source of the routes: a store's URL, or the jupyterhub_config.py of a hub that uses it. Put a "
    "password into that file or into the variable, as other users can see arguments.",
)
@click.option("--from-peer", "peer", is_flag=True, help="Read the routes of jupyterhub-traefik-proxy there.")
@click.option(
    "--to-peer",
    "back",
    is_flag=True,
    help="The reverse: rewrite the routes in the hub's store in the form of jupyterhub-traefik-proxy, and remove "
    "kvproxy's own keys.",
)
@click.option("--from-traefik-prefix", metavar="PREFIX", help="kv_traefik_prefix there, if it differs.")
@click.option("--from-jupyterhub-prefix", metavar="PREFIX", help="kv_jupyterhub_prefix there, if it differs.")
@click.option("--copy-foreign", is_flag=True, help="Also copy keys below the root that are not the proxy's.")
@click.option("--delete-old", is_flag=True, help="Remove the old routes from the source after copying.")
@click.option("--execute", "--yes", "execute", is_flag=True, help="Write. Without it, only show the changes.")
@json_option
def command(
    config_file: str,
    hub_arguments: tuple[str, ...],
    source: str,
    peer: bool,
    back: bool,
    from_traefik_prefix: str | None,
    from_jupyterhub_prefix: str | None,
    copy_foreign: bool,
    delete_old: bool,
    execute: bool,
    as_json: bool,
) -> None:
    """Copy routes from another store or from jupyterhub-traefik-proxy.

    The routes go to the store in the hub's configuration, where the hub finds them at its next start. The hub must be
    stopped meanwhile; its users' servers need not be. Existing routes are kept, unless the source has the same route
    with another target.

    With --from-peer and without --from, the hub's own store is searched for routes of jupyterhub-traefik-proxy.
    --to-peer returns the routes in the hub's own store to jupyterhub-traefik-proxy; start its hub next. Without
    --execute, nothing is written. To complete an interrupted migration, run it again.
    """
    if back and (source or peer or from_traefik_prefix or from_jupyterhub_prefix or copy_foreign or delete_old):
        raise click.UsageError("--to-peer is about the hub's own store; it goes with --execute and --json only.")
    if not source and not peer and not back:
        raise click.UsageError("Say where the routes come from: --from SOURCE, or --from-peer; or give --to-peer.")
    from ..console import dump
    from ..hub.config import load_hub
    from .run import Wish, migrate, place_of
    from .to_peer import give_back

    hub = load_hub(config_file, hub_arguments)
    prefixes = from_traefik_prefix, from_jupyterhub_prefix
    wish = Wish(source, peer, prefixes, execute, delete_old, copy_foreign)
    with _bar() as progress:
        outcome = asyncio.run(give_back(hub, execute, progress) if back else migrate(hub, wish, progress))
    if as_json:
        report = {"written": outcome.written, "removed": outcome.removed, "warnings": list(outcome.warnings)}
        click.echo(dump({**report, **outcome.plan.as_dict()}, indent=2))
    else:
        _print(place_of(hub.proxy), outcome, wish, "jupyterhub-traefik-proxy's hub" if back else "the hub")


def _print(place: str, outcome: Outcome, wish: Wish, next_one: str) -> None:
    from ..._text import counted
    from ..console import on_terminal

    steps = [step for step in outcome.plan.steps if step.kind.value != "keep"]
    shown = steps[:_LISTED] if on_terminal() else steps
    for step in shown:
        click.echo(_line(step))
    if len(shown) < len(steps):
        click.echo(f"… and {len(steps) - len(shown)} more; in a pipe, or with --json, all are listed.")
    counts = {kind.value: number for kind, number in outcome.plan.counts.items()}
    told = ", ".join(f"{counts[kind]} {words}" for kind, (words, _) in _KINDS.items() if kind in counts)
    click.echo(f"Routes {place}: {told or 'none were found'}.")
    if outcome.older:
        click.echo(f"Not copied: {counted(outcome.older, 'outdated route')}, which the hub no longer needs.")
    if outcome.foreign and not wish.copy_foreign:
        what = (
            "1 key below the root there is"
            if outcome.foreign == 1
            else f"{outcome.foreign} keys below the root there are"
        )
        click.echo(f"{what} not the proxy's; --copy-foreign copies such keys, too.")
    for warning in outcome.warnings:
        click.secho(warning, fg="yellow")
    click.echo(_result(outcome, wish.execute, next_one))


def _result(outcome: Outcome, executed: bool, next_one: str) -> str:
    """Return the result, in a sentence or two."""
    from ..._text import counted

    if outcome.written:
        verb = "was" if outcome.removed == 1 else "were"
        removed = f" {counted(outcome.removed, 'old key')} {verb} removed." if outcome.removed else ""
        return f"Written.{removed} Start {next_one} now; it finds the routes and adds the rest of its configuration."
    if executed or not outcome.due:
        return "There is nothing to do; nothing was written."
    if outcome.warnings:
        return "Nothing was written; --execute is refused until that is resolved."
    return "Nothing was written; --execute does it."


def _line(step: Step) -> str:
    from ..console import printable

    kind = click.style(f"{step.kind.value:7}", fg=_KINDS[step.kind.value][1])
    target, why = step.target and f"-> {step.target}", step.why and f"({step.why})"
    return " ".join(filter(None, (kind, printable(step.routespec), target, printable(why))))


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """Show the progress of writing on the terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from ..console import console

    columns = TextColumn("Writing keys"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    out = console(stderr=True)
    with Progress(*columns, console=out, disable=not out.is_terminal) as progress:
        task = progress.add_task("", total=None, visible=False)
        yield lambda done, total: progress.update(task, completed=done, total=total, visible=True)
