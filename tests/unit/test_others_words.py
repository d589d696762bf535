"""Words of Traefik, users' servers and stores reach the hub's log in one harmless form only."""

from __future__ import annotations

import json
import logging
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kvproxy._text import LIMIT, cut, printable, shown
from kvproxy.errors import HookError, KVProxyError, RouteNotReadyError, StoreError, TraefikError
from kvproxy.process import half_read
from kvproxy.process import log_limit as repetition
from kvproxy.process.adoption import Identity, Launch
from kvproxy.process.child import ChildProcess
from kvproxy.process.half_read import HalfRead
from kvproxy.process.log_file import TraefikLog
from kvproxy.process.log_limit import Repetition
from kvproxy.process.redaction import Blotter
from kvproxy.process.supervisor import TraefikSupervisor
from kvproxy.reconcile.lease import Lease, conflict_message, decode

#: As an administrator may choose it, with whatever needs quoting somewhere.
SECRET = 'pa"ss\\wo rd<é&@😀\x01%'


def go_json(text: str) -> str:
    """As Go's JSON escapes."""
    made = json.dumps(text, ensure_ascii=False)[1:-1]
    for character in "<>&":
        made = made.replace(character, f"\\u{ord(character):04x}")
    return made


SPELLINGS: list[Callable[[str], str]] = [
    str,
    go_json,
    lambda text: json.dumps(text)[1:-1],
    lambda text: go_json(go_json(go_json(text))),
    lambda text: quote(text, safe=""),
    lambda text: re.sub("%..", lambda match: match[0].lower(), quote(text)),
    quote_plus,
    lambda text: quote(quote(text, safe=""), safe=""),
    lambda text: repr(text)[1:-1],
    lambda text: ascii(text)[1:-1],
    lambda text: "".join(f"\\x{byte:02x}" for byte in text.encode()),
    lambda text: "".join(f"&#{ord(c)};" for c in text),
]
#: Not among kvproxy's own words.
secrets = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="…"), min_size=2, max_size=20).map(
    lambda text: "Qz" + text
)


def harmless(text: str) -> bool:
    """True if nothing in a text is obeyed by a terminal or a reader of logs."""
    return not any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in text)


class Collector(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """See :class:`logging.Handler`."""
        self.said.append((record.levelno, record.getMessage()))


def collecting() -> tuple[logging.Logger, Collector]:
    """A logger of its own, and what it is told."""
    log, collector = logging.Logger("kvproxy.test", logging.DEBUG), Collector()
    log.addHandler(collector)
    return log, collector


class Ended:
    """Stands for a Traefik that has ended."""

    identity = Identity(1, 1.0)
    alive = False
    ending = "ended with exit status 1"


fields = st.dictionaries(st.sampled_from(["error", "message", "routerName", "host"]), st.text(), max_size=4)
levels = st.sampled_from(["debug", "info", "warn", "error", "fatal", "none"])
lines = st.one_of(
    st.builds(lambda level, more: json.dumps({"level": level, **more}).encode(), levels, fields),
    st.binary(),
    st.builds(lambda text: text.encode(errors="replace"), st.text()),
    st.integers(1, 3).map(
        lambda times: b'{"level":"error","message":"' + b"\\u001bx\xe2\x80\xae" * times * 900 + b'"}'
    ),
)


@given(st.lists(lines, max_size=20), secrets, st.sampled_from(SPELLINGS), st.text(max_size=20), st.booleans())
@example([b"\n[C 2026-01-01 JupyterHub auth:1] User root-admin logged in\x1b[2K"], SECRET, go_json, "", True)
def test_no_line_of_traefiks_harms_the_log(
    said: list[bytes], secret: str, spelling: Callable[[str], str], around: str, in_json: bool
) -> None:
    """No control character, no mark that turns writing round, no secret however spelled, and no long line."""
    text = around + spelling(secret) + around
    line = json.dumps({"level": "error", "error": text, "message": "dial"}) if in_json else text
    log, collector = collecting()
    with TemporaryDirectory() as directory:
        process = TraefikSupervisor(
            Path(directory) / "t.toml", Launch("t", (3,), {}, ""), log, secrets=[secret, "", "e"]
        )
        output = process._output
        with output.open_for_traefik() as file:
            file.write(b"\n".join([*said, line.encode(errors="replace"), b""]))
        process._traefik = Ended()  # type: ignore[assignment]
        with pytest.raises(TraefikError) as failed:
            process.check_alive()
        texts = [message for _, message in collector.said] + [str(failed.value), output.last_words]
        output.close()
    spellings = {spell(secret) for spell in SPELLINGS}
    for message in texts:
        assert harmless(message)
        assert not [hidden for hidden in spellings if hidden in message]
    assert all(len(message) < LIMIT + 100 for _, message in collector.said)
    assert all(len(text) < 6000 for text in texts)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_secret_is_found_in_every_spelling(spelling: Callable[[str], str]) -> None:
    """Also where a text is cut; the words around it stay."""
    blotter = Blotter([SECRET, "abcd", "ab"])
    assert blotter.shown(f"redis://u:{spelling(SECRET)}@host/0") == "redis://u:…@host/0"
    for before in range(LIMIT - 60, LIMIT + 10, 7):
        made = blotter.shown("x" * before + spelling(SECRET) + "y" * 50)
        assert "pa" not in made
        assert len(made) < LIMIT + 30
    flood = blotter.shown(spelling(SECRET) * 1000)
    assert not set(flood) - set("…'\"\\ (0123456789more)")


def test_a_short_password_eats_no_words() -> None:
    """Nor does an empty one; of two, the longer is hidden whole."""
    blotter = Blotter(["", "a", "the", "longer", "longer-still"])
    assert blotter.shown("the cat, longer, longer-still") == "the cat, …, …"


@given(st.text())
def test_a_shown_text_is_harmless_and_short(text: str) -> None:
    """Text that is harmless and short already is as it was."""
    assert harmless(shown(text * 50, 100))
    assert len(shown(text * 50, 100)) < 130
    if harmless(text) and text.isprintable():
        assert printable(text) == shown(text) == cut(text, len(text)) == text


@pytest.mark.parametrize("error", [KVProxyError, StoreError, RouteNotReadyError, lambda text: HookError(text, "/x/")])
def test_an_error_holds_nothing_raw(error: Callable[[str], Exception]) -> None:
    """With any words of a store or Traefik in some sentences; a sentence as it should be is kept."""
    assert str(error("The store says no.")) == "The store says no."
    made = str(error("The store says: \r\n\x1b[2J\u202e" + "x" * 10**6))
    assert made.startswith(r"The store says: \r\n\x1b[2J\u202exxx")
    assert harmless(made)
    assert len(made) < 5100


def test_another_hubs_lease_is_shown_without_control_characters() -> None:
    """Anybody who may write to the store can write one."""
    claim = Lease("i", "host\n[C] all is lost\x1b[2J" + "x" * 10**6, "m", 1, "b", "then\r")
    found = decode(claim.encode())
    assert found == claim
    said = conflict_message(claim, "below 'x'", taken_over=True)
    assert harmless(said)
    assert len(said) < 1000


# -- how much


def passed(count: int, text: Callable[[int], str], seconds: float) -> tuple[list[int], list[tuple[int, str, int]]]:
    """The lines within a time that are passed on, and the summary of the rest in the end."""
    decisions, numbers = Repetition(), []
    summaries = list[tuple[int, str, int]]()
    for number in range(count):
        now = number * seconds / count
        summaries += decisions.summaries(now)
        if decisions.passes(logging.ERROR, text(number), now):
            numbers.append(number)
    return numbers, summaries + decisions.summaries(seconds + repetition.WINDOW)


def test_the_same_line_is_said_once_and_counted() -> None:
    """A minute later it is said how often."""
    numbers, summaries = passed(1000, lambda number: "no", 59)
    assert numbers == [0]
    assert summaries == [(logging.ERROR, "no", 999)]


def test_lines_of_one_kind_are_said_a_few_times() -> None:
    """They differ by a number, a name, or whatever a user's server answers."""
    numbers, summaries = passed(1000, lambda number: f"Provider error, retrying in {number} ms (error={number})", 59)
    assert numbers == list(range(repetition.EACH))
    assert summaries == [(logging.ERROR, "Provider error, retrying in 0 ms (error=0)", 1000 - repetition.EACH)]


@given(st.integers(1, 300), st.floats(1, 600))
def test_no_server_costs_more_than_so_many_lines_a_minute(count: int, seconds: float) -> None:
    """Even if each line is of a kind of its own; those that are left out are counted, none twice."""

    def word(number: int) -> str:
        return "".join(chr(97 + int(digit)) for digit in str(number))

    numbers, summaries = passed(count, word, seconds)
    minutes = seconds / repetition.WINDOW + 1
    assert len(numbers) <= repetition.ALL * minutes + 1
    assert len(numbers) + sum(times for _, _, times in summaries) == count


def test_another_line_is_said_beside_a_loud_one(tmp_path: Path) -> None:
    """The log sums them up; details that were asked for are all passed on."""
    log, collector = collecting()
    now = 0.0
    followed = TraefikLog(tmp_path / "log", log, clock=lambda: now)
    with followed.open_for_traefik() as output:
        for number in range(100):
            output.write(b'{"level":"error","message":"loud server %d"}\n' % number)
            output.write(b'{"level":"debug","message":"detail"}\n')
        output.write(b'{"level":"error","message":"Cannot listen"}\n')
        output.flush()
        followed.pass_on()
        assert [text for level, text in collector.said if level == logging.ERROR] == [
            *(f"Traefik: loud server {number}" for number in range(repetition.EACH)),
            "Traefik: Cannot listen",
        ]
        assert len([text for level, text in collector.said if level == logging.DEBUG]) == 100
        collector.said.clear()
        now = repetition.WINDOW
        followed.pass_on()
        assert collector.said == [
            (logging.ERROR, "Traefik said 95 more lines within 60 s like this one: loud server 0")
        ]
    followed.close()


def test_a_flood_is_skipped_and_leaves_no_file_behind(tmp_path: Path) -> None:
    """No look reads more than a bounded part; what is left out is said, and the disk does not fill."""
    log, collector = collecting()
    followed = TraefikLog(tmp_path / "log", log)
    with followed.open_for_traefik() as output:
        for _ in range(8):
            output.write(b'{"level":"error","message":"x%s"}\n' % (b"y" * 1_000_000))
        output.flush()
        followed.pass_on()
        assert (tmp_path / "log").stat().st_size == 0
        output.write(b'{"level":"error","message":"the end"}\n')
        output.flush()
        followed.pass_on()
    followed.close()
    texts = [text for _, text in collector.said]
    assert re.fullmatch(r"Traefik: more than can be passed on; \d{7} bytes of it are left out\.", texts[0])
    assert texts[-1] == "Traefik: the end"
    assert sum(map(len, texts)) < 10_000


def test_a_line_without_an_end_is_shown_once(tmp_path: Path) -> None:
    """Its beginning; what comes behind it is a line of its own."""
    log, collector = collecting()
    followed = TraefikLog(tmp_path / "log", log)
    with followed.open_for_traefik() as output:
        for _ in range(12):
            output.write(b"z" * 100_000)
            output.flush()
            followed.pass_on()
        output.write(b'\n{"level":"info","message":"next"}\n')
        output.flush()
        followed.pass_on()
        followed.pass_on()
    followed.close()
    (_, first), second = collector.said
    assert first.startswith("Traefik: zzz")
    assert len(first) < LIMIT + 50
    assert second == (logging.INFO, "Traefik: next")


# -- half-read states

NAME = "eyd2i3sl2qqe3wdi"
COMPLAINTS = [
    f"router must have either a service or child routers (entryPointName=http routerName={NAME}-kvg@redis)",
    f"the service is missing on the router (entryPointName=http routerName={NAME}-kvg@redis)",
    f'the service "{NAME}-kvp@redis" does not exist (routerName={NAME}-kvp@redis)',
    f'middleware "ratelimit@redis" does not exist (routerName={NAME}-kvp-blue@etcd)',
    f'parent router "{NAME}-kvg@redis" does not exist (routerName={NAME}-kvl@redis)',
    f"no child routers could be added to muxer (3 skipped) (routerName={NAME}-kvg@redis)",
]


@pytest.mark.parametrize("text", COMPLAINTS)
def test_errors_that_the_next_read_mends_are_details(text: str) -> None:
    """However often it is said within a second, and again an hour later; what lasts is told as it was."""
    decisions = HalfRead()
    for now in (0.0, 0.2, 0.9, 3600.0):
        assert decisions.level(logging.ERROR, text, now) == logging.DEBUG
    assert decisions.level(logging.ERROR, text, 3605.0) == logging.ERROR
    assert decisions.level(logging.ERROR, text, 3650.0) == logging.ERROR


@pytest.mark.parametrize(
    "text",
    [
        'the service "mine@file" does not exist (routerName=mine@file)',
        f"Cannot build the configuration (routerName={NAME}-kvg@redis)",
        f"error while parsing rule (routerName={NAME}-kvp@redis)",
    ],
)
def test_other_complaints_keep_their_level(text: str) -> None:
    """Those about what an administrator has set up, and those that no half-read state explains."""
    assert HalfRead().level(logging.ERROR, text, 0.0) == logging.ERROR


def test_no_number_of_complaints_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are not remembered are details as well."""
    monkeypatch.setattr(half_read, "_MOST", 10)
    decisions = HalfRead()
    for number in range(100):
        text = COMPLAINTS[0] + str(number)
        assert decisions.level(logging.ERROR, text, float(number) / 50) == logging.DEBUG
    assert len(decisions._seen) <= 10


def test_the_stand_in_is_looked_at_as_the_real_one_is() -> None:
    """So that the tests above are about what the hub does."""
    assert all(hasattr(ChildProcess, name) for name in ("alive", "ending", "stop"))
