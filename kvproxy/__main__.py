"""``python -m kvproxy``: the command line, if the command itself is not on PATH."""

from .cli import main

if __name__ == "__main__":
    main(prog_name="python -m kvproxy")
