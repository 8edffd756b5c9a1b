"""python-socketio's own client, as many as asked for: what happens to each is one line of JSON.

    client.py exchange URL TRANSPORTS ADDRESS...    what goes out comes back; ends when all are done
    client.py stay URL TRANSPORTS ADDRESS...        connects, comes back when it is lost; ends when it is stopped

TRANSPORTS is "default" or a list with commas. Each client has one of the addresses.
"""

import json
import logging
import os
import sys
import threading
import time

import requests
import socketio

# One answer to a poll may carry 16 packets at most, or the client gives up.
MANY = 12

printing = threading.Lock()


def tell(client, event, **details):
    with printing:
        print(json.dumps({"client": client, "event": event, **details}), flush=True)


class Words(logging.Handler):
    """What the library says about a problem: its exceptions do not tell the status."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.said = []

    def emit(self, record):
        self.said.append(record.getMessage())


class Lost(Exception):
    """What an application sees when a session goes wrong before it has begun."""


def connect(number, url, transports, address, reconnection):
    words = Words()
    logger = logging.Logger(f"client-{number}")
    logger.addHandler(words)
    # The headers of connect() go with the handshake only; those of the session with every poll.
    http = requests.Session()
    http.headers["x-forwarded-for"] = address
    client = socketio.Client(reconnection=reconnection, logger=logger, engineio_logger=logger, http_session=http)
    hello = threading.Event()

    @client.on("hello")
    def on_hello(instance):
        client.instance = instance
        tell(number, "hello", instance=instance, cookies=http.cookies.get_dict())
        hello.set()

    @client.on("disconnect")
    def on_disconnect(reason):
        tell(number, "lost", reason=reason)
        if not reconnection:
            # Whatever waits for an answer would wait for long.
            tell(number, "failed", reason="; ".join([reason, *words.said]))
            os._exit(1)

    @client.on("connect_error")
    def on_connect_error(reason):
        tell(number, "lost", reason=str(reason))

    client.connect(
        url,
        headers={"x-forwarded-for": address},
        transports=None if transports == "default" else transports.split(","),
        # It would wait for a second, or for ever.
        wait=False,
    )
    deadline = time.monotonic() + 20
    while not hello.wait(0.05):
        if words.said:
            raise Lost("; ".join(words.said))
        if time.monotonic() > deadline:
            raise Lost("the instance did not say hello")
    return client


def exchange(client):
    def same(*values):
        answer = client.call("echo", values, timeout=20)
        expected = values if len(values) > 1 else values[0]
        if answer != expected:
            raise AssertionError(f"sent {str(values)[:100]}, came back as {str(answer)[:100]}")

    for value in [0, -1.5, True, None, "", "Grüße, 世界 🚀", [], {"nested": {"list": [1, "two", None]}}]:
        same(value)
    same("several", 2, {"three": 3})
    some = os.urandom(1_000)
    same(some)
    same({"name": "mixed", "parts": [some, "text", some]})
    same(os.urandom(64 * 1024))
    same(os.urandom(32 * 1024).hex())
    same("a" * 64 * 1024)

    came = threading.Event()
    seen = []

    @client.on("sent-back")
    def on_sent_back(*values):
        seen.append(list(values))
        came.set()

    large = os.urandom(64 * 1024)
    client.emit("send-back", ("an event", large))
    if not came.wait(20) or seen != [["an event", large]]:
        raise AssertionError("an event did not come back as sent")

    order, all_there = [], threading.Event()

    def answered(number):
        order.append(number)
        if len(order) == MANY:
            all_there.set()

    for number in range(MANY):
        client.emit("echo", number, callback=answered)
    if not all_there.wait(20) or order != list(range(MANY)):
        raise AssertionError(f"acknowledgements out of order: {order}")


def run(mode, number, url, transports, address):
    try:
        client = connect(number, url, transports, address, reconnection=mode == "stay")
        if mode == "stay":
            threading.Event().wait()
        home = client.instance
        exchange(client)
        # Polls that are parked and tunnels that are silent are still there after them.
        client.call("heartbeats", 2, timeout=20)
        exchange(client)
        now = client.call("whoami", timeout=20)
        if now["instance"] != home:
            raise AssertionError(f"moved from {home} to {now['instance']}")
        tell(number, "done", instance=home, transport=now["transport"])
        # Without a goodbye: a polling client would wait for its parked poll.
        return True
    except Exception as error:  # whatever it is, the runner has to know
        tell(number, "failed", reason=f"{type(error).__name__}: {error}")
        return False


def main():
    mode, url, transports, *addresses = sys.argv[1:]
    results = []
    clients = [
        threading.Thread(target=lambda n=n, a=a: results.append(run(mode, n, url, transports, a)))
        for n, a in enumerate(addresses)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    # Not sys.exit: threads of a client that failed may still wait for something.
    os._exit(0 if results == [True] * len(addresses) else 1)


main()
