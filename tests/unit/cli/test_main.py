"""The command line itself: help, errors, completion, and what it does not need to start."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner, Result

from kvproxy.cli.main import COMMANDS, group
from kvproxy.errors import ConfigurationError, StoreUnavailableError

SHELLS = ["bash", "zsh", "fish"]


def run(*arguments: str) -> Result:
    """A command's output and exit status, as in a pipe."""
    return CliRunner().invoke(group, arguments)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_with_examples_that_the_command_takes(name: str) -> None:
    """Every option that an example has is one of the command's."""
    said = run(name, "--help")
    assert said.exit_code == 0
    lines = said.output.partition("Examples:\n")[2].splitlines()
    command = group.get_command(click.Context(group), name)
    assert command is not None
    known = {option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]}
    for line in lines:
        words = line.partition("|")[0].split()
        assert words[:2] == ["kvproxy", name]
        assert {word for word in words if word.startswith("-")} <= known
    assert lines


def test_help_says_what_each_command_is_for() -> None:
    """One line each."""
    said = run("--help")
    assert said.exit_code == 0
    assert all(f"  {name} " in said.output for name in COMMANDS)


def test_a_mistyped_command_names_the_one_that_may_be_meant() -> None:
    """As a mistyped option does."""
    said = run("chekc")
    assert said.exit_code == 2
    assert said.output.endswith("Error: No such command 'chekc'. Did you mean 'check'?\n")
    assert "Did you mean" not in run("xyzzy").output


def test_version_is_the_packages() -> None:
    """As pip shows it."""
    from importlib.metadata import version

    assert version("kvproxy") in run("--version").output


@pytest.mark.parametrize("arguments", [[], ["--help"], ["check", "--help"], ["completion", "bash"], ["--version"]])
def test_help_does_not_wait_for_jupyterhub(arguments: list[str]) -> None:
    """It takes a second to import, and completion is asked at each press of the key."""
    code = f"""
import sys
from kvproxy.cli import main
try:
    main({arguments!r})
finally:
    assert not {{"jupyterhub", "traitlets", "rich"}} & sys.modules.keys()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "AssertionError" not in done.stderr
    assert done.stdout + done.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_is_for_the_shell_that_is_named_or_used(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks kvproxy for what could follow."""
    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    named, used = run("completion", shell), run("completion")
    assert named.exit_code == used.exit_code == 0
    assert named.output == used.output
    assert "_KVPROXY_COMPLETE" in named.output


def test_completion_for_an_unknown_shell_names_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is guessed."""
    monkeypatch.setenv("SHELL", "/bin/sh")
    said = run("completion")
    assert said.exit_code == 2
    assert all(shell in said.output for shell in SHELLS)


def test_completion_offers_commands_and_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the shell asks for them."""

    def offered(words: str, number: int) -> str:
        environment = {"_KVPROXY_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(number)}
        monkeypatch.setattr(sys, "argv", ["kvproxy"])
        return CliRunner(env=environment).invoke(group, prog_name="kvproxy").output

    assert offered("kvproxy ", 1).split() == [f"plain,{name}" for name in COMMANDS]
    assert "plain,--differing" in offered("kvproxy routes --d", 2)


@pytest.mark.parametrize(("error", "status"), [(ConfigurationError("Wrong."), 2), (StoreUnavailableError("Away."), 1)])
def test_errors_are_sentences(error: Exception, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a traceback, on standard error; 2 is for what has to be corrected first."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("kvproxy.cli.hub.config.load_hub", fail)
    said = run("check")
    assert (said.exit_code, said.stderr, said.stdout) == (status, f"Error: {error}\n", "")


@pytest.mark.parametrize(
    ("error", "status", "about"),
    [
        (ConfigurationError("It is wrong; correct it."), 2, "configuration"),
        (StoreUnavailableError("It is away; correct it."), 1, "store"),
    ],
)
def test_errors_are_findings_where_json_is_wanted(
    error: Exception, status: int, about: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the form of all others, with the same exit status as without."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("kvproxy.cli.hub.config.load_hub", fail)
    said = run("check", "--json")
    finding = {"level": "error", "about": about, "said": str(error), "advice": "Correct it."}
    assert (said.exit_code, said.stderr, json.loads(said.stdout)) == (status, "", {"ok": False, "findings": [finding]})


def test_a_missing_configuration_file_says_how_to_name_one(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever command it is."""
    monkeypatch.chdir(tmp_path)
    for name in ("check", "routes", "static-config"):
        said = run(name)
        assert said.exit_code == 2
        assert said.stderr == (
            "Error: There is no file jupyterhub_config.py; name the hub's configuration file with -f.\n"
        )


def test_migrate_wants_to_know_from_where() -> None:
    """It never guesses."""
    said = run("migrate")
    assert said.exit_code == 2
    assert "--from SOURCE, or --from-peer" in said.output


def test_demo_is_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its options and its exit status."""
    asked = []
    monkeypatch.setattr("kvproxy.demo.site.main", lambda arguments: asked.append(arguments) or 1)
    assert run("demo", "--port", "8888", "--verbose").exit_code == 1
    assert asked == [["--port", "8888", "--verbose"]]
