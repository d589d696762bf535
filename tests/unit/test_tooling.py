"""The newcomer's entry point run.py, and the rule that skipped tests fail on the build server."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(monkeypatch, tmp_path):
    """run.py as a module, with its slow steps noted instead of done."""
    spec = importlib.util.spec_from_file_location("run", ROOT / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.steps = []

    def create(directory):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        module.steps.append("create")

    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "create", create)
    monkeypatch.setattr(module, "works", lambda python: True)
    monkeypatch.setattr(module, "install", lambda *_: module.steps.append("install"))
    (tmp_path / "pyproject.toml").write_text("one")
    return module


def steps_of(run, requirements=("x",)):
    run.steps.clear()
    run.environment(run.ROOT / ".venv", list(requirements))
    return list(run.steps)


def test_environment_is_made_once(run):
    assert steps_of(run) == ["create", "install"]
    assert steps_of(run) == []


def test_environment_is_renewed_only_as_far_as_needed(run, monkeypatch):
    steps_of(run)
    (run.ROOT / "pyproject.toml").write_text("two")
    assert steps_of(run) == ["install"]
    assert steps_of(run, ["y"]) == ["install"]
    monkeypatch.setattr(run, "works", lambda python: False)
    assert steps_of(run, ["y"]) == ["create", "install"]
    monkeypatch.setattr(run, "works", lambda python: True)
    monkeypatch.setattr(run.sys, "version", "another Python")
    assert steps_of(run, ["y"]) == ["create", "install"]


def test_failed_installation_is_tried_again(run, monkeypatch):
    def fail(*_):
        raise SystemExit("no")

    with monkeypatch.context() as patch:
        patch.setattr(run, "install", fail)
        with pytest.raises(SystemExit):
            steps_of(run)
    assert steps_of(run) == ["install"]


def test_test_arguments_mean_only_those_tests(run, monkeypatch):
    monkeypatch.setattr(run, "hand_over", lambda python, arguments: arguments)
    monkeypatch.setattr(run, "side_by_side", lambda *commands: [command[-1] for command in commands])
    assert run.main(["test"]) == ["tests", "docs"]
    assert run.main(["test", "tests/unit", "-x"])[-5:] == ["-s", "tests", "--", "tests/unit", "-x"]
    assert run.main(["demo", "--port", "1"]) == ["-m", "kvproxy.demo", "--port", "1"]


@pytest.mark.parametrize(("statuses", "status"), [((0, 0), 0), ((3, 0), 3), ((0, 4), 4)])
def test_both_commands_count_and_print(statuses, status, run, capfd, monkeypatch):
    """A failure of either is one of the whole."""
    monkeypatch.setattr(run.signal, "signal", lambda *arguments: None)
    code = "import sys; print(sys.argv[1], flush=True); sys.exit(int(sys.argv[1][-1]))"
    commands = [[sys.executable, "-c", code, f"ended with {number}"] for number in statuses]
    assert run.side_by_side(*commands) == status
    printed = sorted(line for line in capfd.readouterr().out.splitlines() if line)
    assert printed == sorted(f"ended with {number}" for number in statuses)


def test_unknown_command_explains_itself(capsys, run):
    assert run.main(["nonsense"]) == 2
    assert "python3 run.py demo" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "value", "status"), [("KVPROXY_CI", "1", 1), ("CI", "true", 1), ("CI", "false", 0)])
def test_skipped_tests_fail_on_the_build_server(pytester, monkeypatch, name, value, status):
    pytester.makeconftest((ROOT / "tests" / "conftest.py").read_text())
    pytester.makepyfile(
        test_it="import pytest\n"
        "def test_good(): pass\n"
        "@pytest.mark.xfail\n"
        "def test_bad(): assert False\n"
        "def test_absent(): pytest.skip('no such server')\n"
    )
    for variable in ("CI", "KVPROXY_CI"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv(name, value)
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    ran = pytester.runpytest_inprocess()
    output = ran.stdout.str()
    assert ran.ret == status, output
    assert ("test_it.py::test_absent: no such server" in output) == bool(status)
    assert "test_bad:" not in output
