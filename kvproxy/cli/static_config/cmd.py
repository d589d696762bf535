"""``kvproxy static-config``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..main import examples, hub_options

if TYPE_CHECKING:
    from ...proxy.base import KVTraefikProxy


@click.command(
    epilog=examples(
        "kvproxy static-config",
        "kvproxy static-config --output /etc/traefik/traefik.toml",
        "kvproxy static-config --for kubernetes",
        "kvproxy static-config --hot --output /etc/traefik/hot.toml",
        "kvproxy static-config --traefik-version 3.6.5 --output traefik.yaml",
    )
)
@hub_options
@click.option(
    "--for",
    "place",
    type=click.Choice(["compose", "kubernetes", "systemd"]),
    help="The environment of Traefik, as in kvproxy's example of that name. It decides how Traefik stops and where "
    "its API listens.",
)
@click.option(
    "--hot",
    is_flag=True,
    help="For the second Traefik of two tiers, which runs beside the first one (route_tiers = 'two').",
)
@click.option(
    "--traefik-version",
    metavar="VERSION",
    help="Traefik's version, such as 3.7.1; by default that of the traefik on PATH, or else the newest.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["toml", "yaml"]),
    help="Format; by default that of the output file's suffix, or else toml.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to this file, which only its owner can read, instead of printing.",
)
@click.option(
    "--with-secrets/--without-secrets",
    default=None,
    help="Include the store's password or not; by default, it is left out on a terminal only.",
)
def command(
    config_file: str,
    hub_arguments: tuple[str, ...],
    place: str | None,
    hot: bool,
    traefik_version: str | None,
    form: str | None,
    output: Path | None,
    with_secrets: bool | None,
) -> None:
    """Print the static configuration for a Traefik of your own.

    For a hub with should_start = False: entry points, API and the provider for the hub's store, made from the hub's
    settings, with extra_static_config merged over them. It may contain the store's password, which is left out on a
    terminal but not in a pipe, so that the file works. Use --output to write a file: all users of the machine can read
    one that a shell redirects to.
    """
    from ..console import file_for_all, on_terminal
    from ..hub.config import load_hub

    hub = load_hub(config_file, hub_arguments)
    hidden = (output is None and on_terminal()) if with_secrets is None else not with_secrets
    text, secret = _text(
        _hot_one(hub.proxy) if hot else hub.proxy, place, traefik_version, form or _format_of(output), hidden
    )
    for warning in hub.warnings:
        click.echo(f"Warning: {warning}", err=True)
    if hub.proxy.should_start:
        click.echo(
            "Note: this hub starts a Traefik itself; set c.TraefikProxy.should_start = False to use your own.", err=True
        )
    if output is None:
        if secret and file_for_all(sys.stdout):
            click.echo(
                "Warning: standard output is a file that all users of this machine can read, and the store's password "
                "goes into it. Remove the file and use --output FILE, which makes a private one.",
                err=True,
            )
        click.echo(text, nl=False)
    else:
        _write(output, text)


def _hot_one(proxy: KVTraefikProxy) -> KVTraefikProxy:
    """Return the proxy of the second Traefik."""
    from ...proxy.hot import allows_tiers

    hot = proxy.hot_proxy()
    if hot is None or not allows_tiers(proxy, None):
        raise click.UsageError("The hub has one tier of routes; c.TraefikProxy.route_tiers = 'two' makes it two.")
    return hot


def _text(proxy: KVTraefikProxy, place: str | None, version: str | None, form: str, hidden: bool) -> tuple[str, bool]:
    """Return the text of the file, and True if it contains a secret."""
    from ...errors import ConfigurationError
    from ...process.launch import default_environment
    from ...traefik.entry_point import tiers_advice
    from ...traefik.static_config import check_url, groups_allowed
    from .render import PLACES, Place, comments_on, external_configuration, masked, parse_traefik_version, text_of

    check_url(proxy.public_url, "JupyterHub.bind_url")
    number = parse_traefik_version(version) if version else _installed_version()
    if version:
        groups_allowed(proxy.route_layout, number)
        if advice := tiers_advice(number) if proxy.hot else []:
            raise ConfigurationError(advice[0])
    settings = proxy.static_settings(proxy.traefik_provider(), number)
    configuration = external_configuration(settings, PLACES[place] if place else Place())
    environment = proxy.traefik_environment()
    comments = comments_on(configuration, environment, default_environment(hot=proxy.hot), hidden)
    without = masked(configuration, proxy.store_secrets())
    secret = not hidden and (without != configuration or any(environment.values()))
    return text_of(without if hidden else configuration, form, comments), secret


def _installed_version() -> tuple[int, ...]:
    """Return the version of this machine's Traefik or, if there is none, one without peculiarities."""
    from ...errors import TraefikError
    from ...process.launch import find_traefik, traefik_version

    try:
        return traefik_version(find_traefik())
    except TraefikError:
        return (3,)


def _format_of(output: Path | None) -> str:
    ending = output.suffix.lower() if output is not None else ""
    if ending not in {"", ".toml", ".yaml", ".yml"}:
        raise click.UsageError(
            f"Traefik would not know the format of a file that ends in {ending}; use .toml or .yaml."
        )
    return "yaml" if ending in {".yaml", ".yml"} else "toml"


def _write(output: Path, text: str) -> None:
    from ...process.launch import write_private

    replaced = "; what was there is replaced" if output.exists() else ""
    try:
        write_private(output, text)
    except OSError as error:
        raise click.ClickException(f"{output} cannot be written ({error.strerror}).") from None
    click.echo(f"Written to {output}, which only you can read{replaced}.", err=True)
