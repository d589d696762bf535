"""A client of HTTP/2; only the full form has the library for it."""

from __future__ import annotations

from .client import Link
from .http1 import Message


class Http2:
    """One request of a client that speaks HTTP/2."""

    def __init__(self, link: Link):
        import h2.config
        import h2.connection

        self._link = link
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._h2.initiate_connection()
        self.answer = Message("none")
        self.ended = False

    async def start(self, method: str, path: str, host: str, *, end: bool) -> None:
        """Send the head."""
        fields = [(":method", method), (":path", path), (":scheme", "https"), (":authority", host)]
        # Browsers send each cookie in a field of its own.
        more = [("accept-encoding", "identity"), ("cookie", "a=1"), ("cookie", "b=2")]
        self._h2.send_headers(1, [*fields, *more], end_stream=end)
        await self._flush()

    async def send(self, data: bytes, *, end: bool) -> None:
        """Send a piece of the body."""
        self._h2.send_data(1, data, end_stream=end)
        await self._flush()

    async def receive(self) -> None:
        """Take in what comes next."""
        import h2.events

        data = await self._link.reader.read(65536)
        self.ended = self.ended or not data
        for event in self._h2.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                status, *fields = event.headers
                self.answer = Message(f"HTTP/2 {status[1]}", fields)
            elif isinstance(event, h2.events.DataReceived):
                self.answer.body += event.data
                self._h2.acknowledge_received_data(event.flow_controlled_length, 1)
            elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                self.ended = True
        await self._flush()

    async def _flush(self) -> None:
        await self._link.send(self._h2.data_to_send())
