"""Reads the body of a request: within its limit, with room for what arrives, and not more slowly than the least speed."""

from __future__ import annotations

import asyncio

from aiohttp import web

from .budget import Share
from .connections import Connection
from .limits import ServerLimits
from .reply import Reply, text_reply


class Refused(Exception):
    """A request that the server does not answer.

    Attributes:
        reply: what is replied.
    """

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.reply = reply


async def read_body(
    request: web.BaseRequest, connection: Connection, share: Share, limits: ServerLimits, most_bytes: int
) -> bytes:
    """The whole body.

    Args:
        request: the request.
        connection: its connection.
        share: takes the bytes beyond ``limits.free_bytes``; the caller gives them back.
        limits: the server's.
        most_bytes: of the body.

    Raises:
        Refused: it is too large (413), too slow (408) or broken (400), or there was no room for it in time (503).
    """
    reading = _read(request, connection, share, limits, most_bytes)
    # Most bodies have arrived already, and a task for each would cost more than reading it.
    if request.content.is_eof():
        return await reading
    task = asyncio.ensure_future(reading)
    late: list[bool] = []

    def give_up() -> None:
        late.append(task.cancel())

    connection.receive(request.content, give_up)
    try:
        return await task
    except asyncio.CancelledError:
        if not late:
            raise
        speed = f"{limits.bytes_per_s:,.0f} bytes a second within {limits.grace_s:g} s"
        raise Refused(text_reply(408, f"the body arrives too slowly: expected {speed}")) from None
    finally:
        connection.received()


async def _read(
    request: web.BaseRequest, connection: Connection, share: Share, limits: ServerLimits, most_bytes: int
) -> bytes:
    content, parts, size = request.content, [], 0
    try:
        while part := await content.readany():
            parts.append(part)
            size += len(part)
            if size > most_bytes:
                raise Refused(text_reply(413, f"the body is larger than the limit of {most_bytes:,} bytes"))
            if size > limits.free_bytes and (waiting := share.take(min(len(part), size - limits.free_bytes))):
                await _wait_for_room(waiting, connection, limits)
                if not content.is_eof():
                    connection.resume_body()
    except ConnectionError:
        raise Refused(text_reply(400, "the connection was lost")) from None  # nothing reads it
    except web.RequestPayloadError as error:
        raise Refused(text_reply(400, f"the body is malformed: {error}")) from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _wait_for_room(waiting: asyncio.Future[None], connection: Connection, limits: ServerLimits) -> None:
    connection.pause_body()
    try:
        await asyncio.wait_for(waiting, limits.room_s)
    except asyncio.TimeoutError:
        text = f"the server is full: for {limits.room_s:g} s there was no room beside the bodies of other requests"
        raise Refused(text_reply(503, text)) from None
