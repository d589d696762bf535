"""The TCP proxy between the parts of a test, with real sockets."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pytest

from kvproxy.testing.servers.tcp_proxy import TcpProxy


@contextmanager
def echo() -> Iterator[int]:
    """A server's port that answers with what it was told until the other end ends."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,)).start()

    def answer(connection: socket.socket) -> None:
        with closing(connection):
            try:
                while data := connection.recv(65536):
                    connection.sendall(data)
            except OSError:
                return

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


@pytest.fixture
def proxy() -> Iterator[TcpProxy]:
    with echo() as port, TcpProxy(port) as proxy:
        yield proxy


@contextmanager
def connected(proxy: TcpProxy, timeout: float = 10) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=timeout) as client:
        yield client


def exchange(client: socket.socket, data: bytes) -> bytes:
    """The answer to that."""
    sending = threading.Thread(target=client.sendall, args=(data,))
    sending.start()
    answer = bytearray()
    while len(answer) < len(data):
        if not (more := client.recv(65536)):
            break
        answer += more
    sending.join()
    return bytes(answer)


def silent(client: socket.socket) -> bool:
    """True if nothing comes for a while that is long for this proxy."""
    client.settimeout(0.3)
    try:
        return not client.recv(1) and False
    except TimeoutError:
        return True
    finally:
        client.settimeout(10)


def test_it_passes_everything_in_order_and_the_end_of_what_comes(proxy: TcpProxy) -> None:
    """More than any buffer between holds."""
    data = bytes(range(256)) * 20_000
    with connected(proxy) as client:
        assert exchange(client, data) == data
        client.sendall(b"last")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(4, socket.MSG_WAITALL) == b"last"
        assert client.recv(1) == b""


def test_latency_is_added_in_each_direction(proxy: TcpProxy) -> None:
    """And not once for each piece of what comes."""
    with connected(proxy) as client:
        assert exchange(client, b"a") == b"a"
        proxy.latency = 0.2
        start = time.monotonic()
        assert exchange(client, b"a" * 1_000_000) == b"a" * 1_000_000
        assert time.monotonic() - start >= 0.4


def test_bandwidth_is_kept(proxy: TcpProxy) -> None:
    """In bytes a second."""
    proxy.bandwidth = 200_000
    with connected(proxy) as client:
        start = time.monotonic()
        assert exchange(client, b"a" * 100_000) == b"a" * 100_000
        assert time.monotonic() - start >= 0.4


def test_silence_holds_everything_back(proxy: TcpProxy) -> None:
    """On old and new connections, and nothing of it is lost."""
    with connected(proxy) as old:
        assert exchange(old, b"a") == b"a"
        proxy.silent = True
        with connected(proxy) as new:
            old.sendall(b"b")
            new.sendall(b"c")
            assert silent(old)
            assert silent(new)
            proxy.silent = False
            assert (old.recv(1), new.recv(1)) == (b"b", b"c")


def test_a_forgotten_connection_stays_open_and_silent(proxy: TcpProxy) -> None:
    """New connections work."""
    with connected(proxy) as old:
        assert exchange(old, b"a") == b"a"
        proxy.forget()
        old.sendall(b"b")
        assert silent(old)
        with connected(proxy) as new:
            assert exchange(new, b"c") == b"c"
        proxy.heal()
        assert silent(old)


def test_answers_alone_can_be_lost(proxy: TcpProxy) -> None:
    """Bytes that were sent arrive: the server ends when its client does."""
    received = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy.target_port = server.getsockname()[1]
        with connected(proxy) as client:
            behind, _ = server.accept()
            with behind:
                behind.settimeout(10)
                proxy.forget(answers_only=True)
                client.sendall(b"a")
                received += behind.recv(1)
                behind.sendall(b"b")
                assert silent(client)
                client.close()
                assert behind.recv(1) == b""
    assert received == b"a"


def test_a_reset_ends_what_is_open(proxy: TcpProxy) -> None:
    """With an error at the client, and new ones work."""
    with connected(proxy) as old:
        assert exchange(old, b"a") == b"a"
        proxy.reset()
        assert proxy.connections == 0
        with pytest.raises(ConnectionResetError):
            old.recv(1)
        with connected(proxy) as new:
            assert exchange(new, b"b") == b"b"


def test_it_refuses_until_it_accepts_again(proxy: TcpProxy) -> None:
    """On the same port."""
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError), connected(proxy):
        pass
    proxy.heal()
    with connected(proxy) as client:
        assert exchange(client, b"a") == b"a"


def test_a_server_that_refuses_ends_the_connection() -> None:
    """As soon as that is known."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with TcpProxy(port) as proxy, connected(proxy) as client, suppress(ConnectionResetError):
        assert client.recv(1) == b""
