"""Just enough of HTTP/1.1 to find where a message ends: nothing is corrected, refused or normalised."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

#: For heads of 1 MB, and more than any piece of a body.
LIMIT = 2**26
_CHUNK = 65536  # bytes


@dataclass
class Message:
    """A request or an answer as it was received.

    Args:
        first: the first line.
        fields: the header's fields in their order, names as received.
        body: without its transfer encoding.
        trailers: the fields behind a chunked body.
        whole: whether the body has ended as its head says.
        early: answers with a status below 200 that came before.
    """

    first: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    whole: bool = True
    early: list[Message] = field(default_factory=list)

    def values(self, name: str) -> list[str]:
        """The values of all fields of that name, in any case."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def get(self, name: str) -> str:
        """Their values, separated by commas; empty if there is none."""
        return ", ".join(self.values(name))

    @property
    def status(self) -> str:
        """Of an answer: the three digits."""
        return self.first.split(" ", 2)[1] if " " in self.first else self.first

    @property
    def reason(self) -> str:
        """Of an answer: the words behind the status."""
        return self.first.split(" ", 2)[2] if self.first.count(" ") > 1 else ""


async def read_head(reader: asyncio.StreamReader) -> Message | None:
    """The head of the next message, None if the connection ends instead."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = raw[:-4].decode("latin-1").split("\r\n")
    return Message(first, [_field(line) for line in lines])


async def read_body(reader: asyncio.StreamReader, message: Message, *, until_end: bool) -> None:
    """Read the body that a head announces into the message.

    until_end: whether a head that says nothing about the length means all until the connection ends, as in answers.
    """
    try:
        if "chunked" in message.get("transfer-encoding").lower():
            await _read_chunks(reader, message)
        elif message.get("content-length"):
            await _read_exactly(reader, message, int(message.values("content-length")[0]))
        elif until_end:
            while data := await reader.read(_CHUNK):
                message.body += data
    except ConnectionError:
        message.whole = False


async def _read_exactly(reader: asyncio.StreamReader, message: Message, length: int) -> None:
    pieces, missing = [], length
    while missing and (data := await reader.read(min(missing, 2**20))):
        pieces.append(data)
        missing -= len(data)
    message.body += b"".join(pieces)
    message.whole = not missing


async def _read_chunks(reader: asyncio.StreamReader, message: Message) -> None:
    while size := await read_chunk_size(reader):
        before = len(message.body)
        await _read_exactly(reader, message, size)
        if len(message.body) - before < size or not await reader.readline():
            message.whole = False
            return
    if size is None:
        message.whole = False
        return
    while line := (await reader.readline()).decode("latin-1").rstrip("\r\n"):
        message.trailers.append(_field(line))


async def read_chunk_size(reader: asyncio.StreamReader) -> int | None:
    """The size that begins a chunk, None if the connection ends instead."""
    line = await reader.readline()
    return int(line.partition(b";")[0], 16) if line.strip() else None


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value.strip(" \t")


def chunk(data: bytes) -> bytes:
    """Those bytes as one chunk; none is the last one."""
    return b"%x\r\n%s\r\n" % (len(data), data)
