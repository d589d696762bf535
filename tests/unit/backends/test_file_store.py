"""The file backend without Traefik: flat keys to nested text and back, hand edits, broken files, two writers."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import stat
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kvproxy.errors import (
    ConfigurationError,
    StoreChangedError,
    StoreError,
    StoreUnavailableError,
    StoreWriteRefusedError,
)
from kvproxy.reconcile import plan
from kvproxy.routing.encode import encode_route
from kvproxy.routing.entry import Entry, Layout
from kvproxy.routing.flatten import flatten
from kvproxy.routing.route import Route, make_route
from kvproxy.store import Operation, Snapshot, Space, Transaction
from kvproxy_file import TraefikFileProviderProxy
from kvproxy_file.document import Document
from kvproxy_file.formats import BrokenFileError, Format, format_of
from kvproxy_file.store import FileStore

from ..strategies import data, routes

try:
    import tomllib
except ImportError:
    import tomli as tomllib

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    [
        "true",
        "null",
        "~",
        "1",
        "0",
        "{{",
        "a{{{b}}",
        "# x",
        "\r\n",
        "\x7f\x85\u2028\ufeff",
        "😀",
        "x" * 1100,
        "é" * 700,
        "<<",
    ]
)


def files_beside(path: Path) -> list[str]:
    """The directory's files, without the one that writers lock."""
    return sorted(file.name for file in path.parent.iterdir() if file.name != f".{path.name}.lock")


NAMES = TEXT.map(lambda text: text.replace("/", "|"))
TREES = st.dictionaries(
    NAMES,
    st.recursive(
        TEXT | st.booleans() | st.integers(),
        lambda inner: st.dictionaries(NAMES, inner, max_size=3) | st.lists(inner, min_size=1, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)
FORMATS = ["toml", "yaml"]
ADA = make_route("/user/ada/", "http://127.0.0.1:1", {"user": "ada"})
BOB = make_route("/user/bob/", "http://127.0.0.1:2", {"user": "bob {{ x }}"})


def made(ending: str) -> Format:
    return format_of(f"rules.{ending}")


def transaction(route: Route, before: Route | None = None) -> Transaction:
    """A transaction that puts a route into a store, in place of another."""
    return Transaction(plan.diff(encode_route(before, Layout()) if before else None, encode_route(route, Layout())))


def removal(route: Route) -> Transaction:
    return Transaction(plan.diff(encode_route(route, Layout()), None))


def read(ending: str, text: str) -> Any:
    """A text as the usual libraries understand it."""
    return tomllib.loads(text) if ending == "toml" else yaml.safe_load(text)


async def held(path: Path) -> Snapshot:
    """The contents that a new store finds in a file."""
    store = FileStore(path)
    try:
        return await store.snapshot()
    finally:
        await store.aclose()


@pytest.fixture(params=FORMATS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"rules.{request.param}"


@pytest.fixture
async def store(path: Path) -> Any:
    opened = FileStore(path)
    yield opened
    await opened.aclose()


@pytest.mark.parametrize("ending", FORMATS)
@given(first=TREES, second=TREES, records=st.dictionaries(TEXT, TEXT | data.map(repr), max_size=3))
def test_written_values_are_read_back(ending: str, first: Any, second: Any, records: dict[str, str]) -> None:
    """Flat, nested, text, nested, flat; and after a change to something else; no template is ever left in the text."""
    before, after = Entry("", flatten(first), {}), Entry("", flatten(second), records)
    document = Document({}, {}, made(ending))
    for old, new in ((None, before), (before, after)):
        document.apply(plan.diff(old, new))
        again = Document.parse(document.text(), made(ending))
        assert again.snapshot() == document.snapshot() == Snapshot(dict(new.config), dict(new.records))
        assert isinstance(read(ending, document.text()) or {}, dict)


@pytest.mark.parametrize("ending", FORMATS)
@given(table=st.lists(routes(), max_size=5, unique_by=lambda route: route.key))
def test_routes_and_their_records_are_read_again(ending: str, table: list[Route]) -> None:
    """With any names and data."""
    document = Document({}, {}, made(ending))
    for route in table:
        document.apply(transaction(route).operations)
    again = Document.parse(document.text(), made(ending)).snapshot()
    assert again.config == {k: v for route in table for k, v in encode_route(route, Layout(())).config.items()}
    assert again.records == {k: v for route in table for k, v in encode_route(route, Layout(())).records.items()}
    for route in table:
        document.apply(removal(route).operations)
    assert not read(ending, document.text())


def test_lists_and_options_without_fields(path: Path) -> None:
    """As Traefik wants them."""
    tree = {"http": {"routers": {"r": {"entryPoints": ["a", "b"], "tls": {}}, "0": {"rule": "x"}}}}
    document = Document({}, {}, format_of(path.name))
    document.apply(Operation(Space.CONFIG, key, value) for key, value in reversed(flatten(tree).items()))
    written = read(path.suffix[1:], document.text())["http"]["routers"]
    assert written == {"r": {"entryPoints": ["a", "b"], "tls": "true"}, "0": {"rule": "x"}}


HAND = {
    "toml": """
# mine
title = "kept"

[http.routers.mine]
rule = 'Host(`a`) && Path("/x")'
priority = 0x2a
entryPoints = [ "a",
  "b" ]   # both
[http.routers.mine.tls]

[http.routers.0]
rule = "digits"

[[tls.certificates]]
certFile = \"\"\"
PEM
\"\"\"

[odd]
when = 2020-01-02
ratio = 1.50
flag = true
none = []
"a.b" = { c = [ { d = 1 }, { e = [[1], []] } ] }
""",
    "yaml": """
# mine
title: kept
http:
  routers:
    mine: &mine
      rule: Host(`a`) && Path("/x")
      priority: 42
      entryPoints: [a, "b"]  # both
      tls: {}
    0: {rule: digits}
    other: {<<: *mine, priority: 7}
  services:
tls:
  certificates:
    - certFile: |
        PEM
odd:
  when: 2020-01-02
  ratio: 1.50
  flag: yes
  "yes": "yes"
  quoted: "42"
  nothing: ~
  none: []
  text: "a: b, {c}"
  folded: >
    x
    y
  ? long
  : - [[1], []]
""",
}


def comparable(tree: Any) -> Any:
    """With all keys as texts, as Traefik reads them."""
    if isinstance(tree, dict):
        return {str(key): comparable(value) for key, value in tree.items()}
    return [comparable(value) for value in tree] if isinstance(tree, list) else tree


async def test_additions_by_hand_are_kept(path: Path, store: FileStore) -> None:
    """With its types, whatever comes and goes beside it; the file is not even touched by reading it."""
    ending = path.suffix[1:]
    path.write_text(HAND[ending])
    before = read(ending, HAND[ending])
    assert await store.check() != []
    snapshot = await store.snapshot()
    assert path.read_text() == HAND[ending]
    assert snapshot.config["http/routers/mine/priority"] == "42"
    assert snapshot.config["http/routers/mine/entryPoints/1"] == "b"
    assert snapshot.config["http/routers/mine/tls"] == "true"
    assert snapshot.records == {}
    await store.apply(transaction(ADA))
    await store.apply(transaction(BOB))
    assert set((await held(path)).records) == {ADA.key, BOB.key}
    await store.apply(removal(ADA))
    await store.apply(removal(BOB))
    after = read(ending, path.read_text())
    if ending == "yaml":
        # An empty section that routes were put into and taken from is gone.
        assert before["http"].pop("services") is None
    assert comparable(after) == comparable(before)
    if ending == "toml":
        assert after["odd"]["when"] == date(2020, 1, 2)


async def test_hand_edits_while_the_hub_runs_are_kept(path: Path, store: FileStore) -> None:
    """They are merged with the next change, after another look."""
    await store.apply(transaction(ADA))
    line = {"toml": '\n[tcp.routers]\nmine = {rule = "x"}\n', "yaml": "tcp: {routers: {mine: {rule: x}}}\n"}
    with path.open("a") as file:
        file.write(line[path.suffix[1:]])
    with pytest.raises(StoreChangedError):
        await store.apply(transaction(BOB))
    await store.snapshot()
    await store.apply(transaction(BOB))
    snapshot = await held(path)
    assert snapshot == await store.snapshot()
    assert snapshot.config["tcp/routers/mine/rule"] == "x"
    assert set(snapshot.records) == {ADA.key, BOB.key}


@pytest.mark.parametrize("how", ["removed", "emptied", "older"])
async def test_lost_routes_lead_to_a_full_read(how: str, path: Path, store: FileStore) -> None:
    """Nothing is written upon a file that lacks what was there; the one who asked reads again, and then it goes on."""
    await store.apply(transaction(ADA))
    older = path.read_bytes()
    await store.apply(transaction(BOB))
    if how == "removed":
        path.unlink()
    else:
        path.write_bytes(older if how == "older" else b"")
    with pytest.raises(StoreChangedError, match=r"rules\..* is not as kvproxy left it"):
        await store.apply(transaction(make_route("/user/eve/", "http://127.0.0.1:3", {})))
    assert set((await store.snapshot()).records) == ({ADA.key} if how == "older" else set())
    await store.apply(transaction(BOB))
    assert BOB.key in (await held(path)).records


BROKEN = {
    "toml": [
        ("[http\n", 1, "Expected"),
        ("a = 1\n[http]\nx = \n", 3, "Invalid value"),
        ("a = 1\na = 2\n", 2, "overwrite"),
        ('a = "x', 1, "Unterminated"),
    ],
    "yaml": [
        ("http: {\n", 2, "expected"),
        ("a: 1\nb: [1\nc: 2\n", 3, "expected"),
        ("a: 1\nb: 1\na: 2\n", 3, "'a' stands here a second time"),
        ("- a\n", 1, "not a mapping"),
        ("a: 1\n---\nb: 2\n", 2, "another document"),
        ("a: 1\nb: *x\n", 2, "undefined alias"),
        ("a: 1\n? [x]\n: 1\n", 2, "a key is not a text"),
        ("a: 1\nb: \x01\n", 2, "U\\+0001"),
    ],
}
BROKEN_ANYHOW = [
    ("\n# {{ env `HOME` }}\n", 2, "template"),
    ("\n# kvproxy record nonsense\n", 2, "not a record"),
    ('# kvproxy record "/x/" {}\n# kvproxy record "/x/" {}\n', 2, "second one"),
]


@pytest.mark.parametrize(
    ("ending", "text", "line", "why"), [(e, *b) for e in FORMATS for b in [*BROKEN[e], *BROKEN_ANYHOW]]
)
async def test_a_broken_file_is_named_with_its_line_and_left_alone(
    ending: str, text: str, line: int, why: str, tmp_path: Path
) -> None:
    """Every call fails; once it is mended, all goes on."""
    path = tmp_path / f"rules.{ending}"
    path.write_text(text)
    store = FileStore(path)
    for call in (store.check, store.snapshot, lambda: store.apply(transaction(ADA))):
        with pytest.raises(StoreError, match=f"rules.{ending}, line {line}: .*{why}") as caught:
            await call()
        assert not isinstance(caught.value, StoreUnavailableError)
    assert path.read_text() == text
    path.write_text("")
    await store.apply(transaction(ADA))
    await store.aclose()


async def test_a_file_that_is_not_text(path: Path, store: FileStore) -> None:
    """Bytes that are no UTF-8, and nesting without an end."""
    path.write_bytes(b"#\n# \xff\n")
    with pytest.raises(StoreError, match="line 2: this is not UTF-8"):
        await store.snapshot()
    path.write_text("a: " * (path.suffix == ".yaml") + "a = " * (path.suffix == ".toml") + "[" * 9000 + "]" * 9000)
    with pytest.raises(StoreError, match="line 1: "):
        await store.snapshot()


async def test_value_and_keys_below_it_cannot_both_be(path: Path, store: FileStore) -> None:
    """An error, and nothing is changed; but one can take the place of the other."""

    def put(**values: str | None) -> Transaction:
        return Transaction(tuple(Operation(Space.CONFIG, k.replace("_", "/"), v) for k, v in values.items()))

    await store.apply(put(a_b="1", c="1"))
    before = path.read_bytes()
    for wrong in (put(x="1", a_b_c="2"), put(x="1", a="2")):
        with pytest.raises(StoreError, match="cannot have a value and keys below it"):
            await store.apply(wrong)
    assert path.read_bytes() == before
    await store.apply(put(a_b=None, a_b_c="2", c=None, nosuch=None, nosuch_x=None))
    await store.apply(put(a_b="3", a_b_c=None, a=None))
    assert (await held(path)).config == {"a/b": "3"}


async def test_two_writers_lose_nothing(path: Path, store: FileStore) -> None:
    """Each takes its turn, and reads again what the other wrote."""
    other = FileStore(path)
    made = [make_route(f"/user/u{n}/", "http://127.0.0.1:1", {}) for n in range(40)]

    async def write(to: FileStore, routes: list[Route]) -> None:
        left = list(routes)
        while left:
            try:
                await to.apply(transaction(left[-1]))
                left.pop()
            except StoreChangedError:
                await to.snapshot()

    await asyncio.gather(write(store, made[::2]), write(other, made[1::2]))
    assert len((await held(path)).records) == 40
    await other.aclose()


@pytest.mark.parametrize(("mode", "wanted"), [(None, 0o600), (0o644, 0o600), (0o640, 0o640), (0o660, 0o640)])
async def test_the_mode_of_the_file(mode: int | None, wanted: int, path: Path, store: FileStore) -> None:
    """Private, or for one group if the administrator made it so."""
    if mode is not None:
        path.touch()
        path.chmod(mode)
    warnings = await store.check()
    assert [w for w in warnings if "mode 0644" in w] == warnings
    assert bool(warnings) == (mode == 0o644)
    await store.apply(transaction(ADA))
    assert stat.S_IMODE(path.stat().st_mode) == wanted
    assert files_beside(path) == [path.name]


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StoreWriteRefusedError),
        (errno.EACCES, StoreWriteRefusedError),
        (errno.EROFS, StoreWriteRefusedError),
        (errno.EIO, StoreUnavailableError),
        (errno.ENAMETOOLONG, StoreError),
    ],
)
async def test_errors_of_the_system_change_nothing(
    number: int, kind: type[StoreError], path: Path, store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are named, nothing is left over, and the next try works."""
    await store.apply(transaction(ADA))
    before = path.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fail)
        with pytest.raises(kind, match=os.strerror(number)):
            await store.apply(transaction(BOB))
    assert path.read_bytes() == before
    assert files_beside(path) == [path.name]
    await store.apply(transaction(BOB))
    assert set((await store.snapshot()).records) == {ADA.key, BOB.key}


async def test_a_change_in_the_last_moment_is_not_overwritten(
    path: Path, store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor saves the file while the new one is being written."""
    await store.apply(transaction(ADA))
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda _: path.write_text("# mine"))
        with pytest.raises(StoreUnavailableError, match="changed by someone else at this very moment"):
            await store.apply(transaction(BOB))
    assert path.read_text() == "# mine"


async def test_files_that_cannot_work_are_refused_at_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence each."""

    async def check(name: str) -> list[str]:
        store = FileStore(tmp_path / name)
        try:
            return await store.check()
        finally:
            await store.aclose()

    (tmp_path / "dir.toml").mkdir()
    for name, why in (("no/rules.toml", "does not exist; create it"), ("dir.toml", "is not a file")):
        with pytest.raises(ConfigurationError, match=why):
            await check(name)
    with pytest.raises(ConfigurationError, match="must end in"):
        await check("rules.json")
    assert await check("rules.toml") == []
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(ConfigurationError, match="may not write to"):
        await check("rules.toml")


def test_ways_to_name_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path or a URL; the hub and Traefik are told the same, absolute, and past links."""
    monkeypatch.chdir(tmp_path)

    def named(text: str) -> str:
        proxy = TraefikFileProviderProxy(dynamic_config_file=text, kv_traefik_prefix="", kv_jupyterhub_prefix="//")
        provider: dict[str, dict[str, Any]] = proxy.traefik_provider()
        assert provider == {"file": {"filename": str(proxy.file), "watch": True}}
        return str(proxy.file)

    here = os.path.realpath(tmp_path)
    assert TraefikFileProviderProxy().traefik_provider()["file"]["filename"] == f"{here}/rules.toml"
    assert named("x.yml") == f"{here}/x.yml"
    assert named("file:///srv/my%20rules.yaml") == named("file://localhost/srv/my rules.yaml") == "/srv/my rules.yaml"
    (tmp_path / "link.toml").symlink_to("target.toml")
    assert named("link.toml") == f"{here}/target.toml"
    for wrong in ("file://host/x.toml", "file:x.toml", "file:///x?y.toml", "file:///x.toml#y"):
        with pytest.raises(ConfigurationError, match="names no file on this machine"):
            named(wrong)
    with pytest.raises(ConfigurationError, match="must end in"):
        named("rules.json")
    with pytest.raises(ConfigurationError, match="two files"):
        named("traefik.toml")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install."""
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'kvproxy\[file\]'"):
        format_of("rules.yaml")


def test_errors_of_parsing_are_all_of_one_kind() -> None:
    """Also when the end of the text is the place."""
    with pytest.raises(BrokenFileError, match="line 2"):
        format_of("x.toml").parse("a = [\n")


async def test_a_lock_on_the_directory_has_no_effect(path: Path, store: FileStore) -> None:
    """Every user who may read the directory could hold one; the hub locks a file of its own, which is private."""
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        await asyncio.wait_for(store.apply(transaction(ADA)), 5)
    finally:
        os.close(descriptor)
    lock = path.with_name(f".{path.name}.lock")
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600
    lock.unlink()
    lock.symlink_to(path.parent / "elsewhere")
    with pytest.raises(StoreError):
        await store.apply(transaction(BOB))
    assert not (path.parent / "elsewhere").exists()
