"""``python -m kvproxy.service``."""

from .app import command

if __name__ == "__main__":
    command(prog_name="python -m kvproxy.service")
