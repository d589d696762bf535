#!/usr/bin/env python3
"""Set up and run kvproxy from a fresh checkout, with nothing but Python 3.10 or newer.

    python3 run.py demo [--port 8000]     a complete JupyterHub on a private Redis and the real Traefik
    python3 run.py test [pytest args...]  all checks and tests; with pytest arguments only those tests

What is needed is installed into a virtual environment inside the checkout; nothing else is touched.
"""

import sys

if sys.version_info < (3, 10):
    sys.exit("kvproxy needs Python 3.10 or newer; this is Python {}.{}.".format(*sys.version_info))

import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def main(arguments: list[str]) -> int:
    """Run one sub-command and return its exit status."""
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if command == "demo":
        python = environment(ROOT / ".venv-demo", ["-e", f"{ROOT}[demo]"])
        return hand_over(python, ["-m", "kvproxy.demo", *rest])
    if command == "test":
        python = environment(ROOT / ".venv-nox", ["nox>=2024.4.15"])
        nox = [str(python), "-m", "nox", "-f", str(ROOT / "noxfile.py"), "-s"]
        # Arguments mean particular tests, so the other sessions have nothing to do with them.
        if rest:
            return hand_over(python, [*nox[1:], "tests", "--", *rest])
        return side_by_side([*nox, "tests"], [*nox, "lint", "types", "docs"])
    print(__doc__)
    return 0 if command in {"-h", "--help", "help"} else 2


def hand_over(python: Path, arguments: list[str]) -> int:
    """Become that program, so that signals and exit status are its own."""
    sys.stdout.flush()
    os.execv(python, [str(python), *arguments])


def side_by_side(command: list[str], other: list[str]) -> int:
    """Run two commands at once; the output of the second one is printed when it has ended."""
    with tempfile.TemporaryFile() as output:
        second = subprocess.Popen(other, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        first = subprocess.Popen(command)
        both = (first, second)
        signal.signal(signal.SIGTERM, lambda number, frame: [process.terminate() for process in both])

        def tell() -> None:
            second.wait()
            output.seek(0)
            say(output.read().decode(errors="replace"))

        telling = threading.Thread(target=tell)
        telling.start()
        try:
            first.wait()
        finally:
            # The terminal has interrupted them too; they need a moment to end what they have started.
            for process in both:
                process.wait()
            telling.join()
    statuses = [process.returncode for process in both if process.returncode]
    return next((status if status > 0 else 128 - status for status in statuses), 0)


def environment(directory: Path, requirements: list[str]) -> Path:
    """The Python of a virtual environment that holds these requirements, made or renewed where needed."""
    python = directory / "bin" / "python"
    maker, packages = directory / ".made-by", directory / ".installed"
    if not (read(maker) == made_by() and works(python)):
        create(directory)
        maker.write_text(made_by())
    if read(packages) != wanted(requirements):
        install(python, directory, requirements)
        packages.write_text(wanted(requirements))
    return python


def made_by() -> str:
    """What a virtual environment depends on and cannot change later."""
    return f"{sys.version}\n{os.path.realpath(sys.executable)}\n{ROOT}\n"


def wanted(requirements: list[str]) -> str:
    """Changes when something else would have to be installed."""
    text = (ROOT / "pyproject.toml").read_bytes() + "\n".join(requirements).encode()
    return hashlib.sha256(text).hexdigest()


def read(path: Path) -> str:
    """The text of a file, empty if there is none."""
    try:
        return path.read_text()
    except OSError:
        return ""


def works(python: Path) -> bool:
    """Whether the interpreter of a virtual environment starts and has pip."""
    try:
        return subprocess.run([python, "-c", "import pip"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def create(directory: Path) -> None:
    """Make an empty virtual environment, in place of whatever is there."""
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        sys.exit(no_venv())
    if directory.exists():
        shutil.rmtree(directory)
    say(f"Making a virtual environment in {directory.name} ...")
    # The child's own words help only when it is not the well-known missing package.
    made = subprocess.run(
        [sys.executable, "-m", "venv", directory], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if made.returncode != 0:
        shutil.rmtree(directory, ignore_errors=True)
        sys.exit(no_venv() if "ensurepip" in made.stdout else made.stdout)


def no_venv() -> str:
    """The sentence for a Python that came without its venv module."""
    return (
        "This Python cannot make virtual environments. On Debian or Ubuntu install the package python3-venv "
        f"(or python{sys.version_info[0]}.{sys.version_info[1]}-venv), then run this command again."
    )


def install(python: Path, directory: Path, requirements: list[str]) -> None:
    """Install into the virtual environment, with the machine's own pip configuration."""
    say(f"Installing what is needed into {directory.name}; the first time this takes a few minutes ...")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    # A user-wide "pip install --user" setting cannot work inside a virtual environment.
    done = subprocess.run([*pip, *requirements], env={**os.environ, "PIP_USER": "0"}, check=False)
    if done.returncode != 0:
        sys.exit("Installing failed; the reason is in pip's messages above. The next run tries again.")


def say(text: str) -> None:
    """Print at once, also into a pipe."""
    print(text, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
