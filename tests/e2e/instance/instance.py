"""One python-socketio instance: an open packet in another order than Node's, answers without a length, so chunked.

It tells its NAME to whoever asks, as instance.mjs does; the rest is what the scenarios need.
"""

import asyncio
import os

import socketio
import uvicorn
from engineio.packet import PONG

NAME, PORT = os.environ["NAME"], int(os.environ["PORT"])

# Heartbeats as short as those of instance.mjs.
sio = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*", always_connect=True, ping_interval=1, ping_timeout=20)


@sio.event
async def connect(sid, environ):
    headers = {"forwardedFor": environ.get("HTTP_X_FORWARDED_FOR"), "cookie": environ.get("HTTP_COOKIE")}
    await sio.save_session(sid, {"headers": headers})
    await sio.emit("hello", NAME, to=sid)


@sio.on("whoami")
async def whoami(sid):
    seen = await sio.get_session(sid)
    return {"instance": NAME, "transport": sio.transport(sid), "protocol": 4, **seen["headers"]}


@sio.on("echo")
async def echo(_sid, *values):
    return values


@sio.on("keep")
async def keep(sid, data):
    async with sio.session(sid) as session:
        session["kept"] = data


@sio.on("kept")
async def kept(sid):
    return (await sio.get_session(sid))["kept"].hex()


@sio.on("send-back")
async def send_back(sid, *values):
    await sio.emit("sent-back", values, to=sid)


@sio.on("heartbeats")
async def heartbeats(sid, count):
    """Answers after so many further heartbeats."""
    engine = sio.eio.sockets[sio.manager.eio_sid_from_sid(sid, "/")]
    receive, beats = engine.receive, asyncio.Queue()

    async def watch(packet):
        if packet.packet_type == PONG:
            beats.put_nowait(packet)
        await receive(packet)

    engine.receive = watch
    for _ in range(count):
        await beats.get()
    engine.receive = receive
    return count


uvicorn.run(
    socketio.ASGIApp(sio),
    host="127.0.0.1",
    port=PORT,
    ws="wsproto",
    lifespan="off",
    access_log=False,
    log_level="warning",
)
