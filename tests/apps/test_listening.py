"""A connection that brings no request is closed, one that asks is answered, and there is an end to their number."""

import socket
import threading
import time

import pytest

from agentgym.apps import listening

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture(scope="module")
def port():
    """That of a server which waits half a second for a request, and takes four connections."""
    addresses = []
    protocol = listening.patient_protocol(request_s=0.5, most=4)
    keywords = {"host": "127.0.0.1", "port": 0, "announce": addresses.append, "http": protocol, "lifespan": "off"}
    threading.Thread(target=listening.listen, args=(app,), kwargs=keywords, daemon=True).start()
    while not addresses:
        time.sleep(0.01)
    return int(addresses[0].rstrip("/").rpartition(":")[2])


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def test_a_request_is_answered_and_the_next_one_on_the_same_connection_too(port):
    with connect(port) as connection:
        for _ in range(2):
            connection.sendall(REQUEST)
            answer = b""
            while not answer.endswith(b"ok"):
                answer += connection.recv(1000)
            assert answer.startswith(b"HTTP/1.1 200")
            time.sleep(0.6)  # longer than a request may take: nothing is asked meanwhile


def ends(connection):
    """Whether the server closes the connection before the patience of a client ends."""
    try:
        while connection.recv(1000):
            pass
    except TimeoutError:
        return False
    except OSError:  # reset
        pass
    return True


@pytest.mark.parametrize(
    "begun",
    [b"", REQUEST[:10], REQUEST[:-2], b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nab"],
)
def test_a_connection_that_does_not_bring_its_request_is_closed(port, begun):
    with connect(port) as connection:
        connection.sendall(begun)
        began = time.monotonic()
        assert ends(connection)
        assert 0.3 < time.monotonic() - began < 8


def test_more_connections_than_there_may_be_are_turned_away(port):
    held = [connect(port) for _ in range(4)]
    time.sleep(0.1)
    try:
        with connect(port) as one_more:
            began = time.monotonic()
            assert ends(one_more)
            assert time.monotonic() - began < 0.3
    finally:
        for connection in held:
            connection.close()
