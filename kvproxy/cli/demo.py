"""``kvproxy demo``."""

from __future__ import annotations

import click

from .main import examples


@click.command(epilog=examples("kvproxy demo", "kvproxy demo --port 8888 --verbose"))
@click.option("--port", default=8000, show_default=True, help="Public port on 127.0.0.1; another one if it is in use.")
@click.option("--verbose", is_flag=True, help="Show the hub's log too.")
@click.pass_context
def command(context: click.Context, port: int, verbose: bool) -> None:
    """Start a complete hub on this machine, to try things out.

    A private Redis, Traefik, JupyterHub and, for each user, JupyterLab, on the loopback interface only. Ctrl-C stops
    everything and leaves nothing behind. It needs the packages of `pip install 'kvproxy[demo]'`.
    """
    from ..demo import site as demo

    context.exit(demo.main(["--port", str(port), *(["--verbose"] if verbose else [])]))
