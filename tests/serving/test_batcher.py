"""Requests to batches, without HTTP and without a model: the handler is one that the tests control."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any, Callable

import pytest

from fastinfer.errors import InputError
from fastinfer.handlers import hooks
from fastinfer.handlers.request import Answer, Request
from fastinfer.serving.batcher import TAKE_BYTES, Pending, Workers
from fastinfer.serving.limits import ServerLimits
from fastinfer.serving.reply import Reply
from tests.serving.test_settings import make_settings


class Handler:
    """Notes the batches that it is given, and answers when it may."""

    def __init__(self, *, has_hooks: bool = False) -> None:
        self.has_hooks = has_hooks
        self.batches: list[list[bytes]] = []
        self.entered = threading.Semaphore(0)
        self.may_answer = threading.Event()

    def answer_many(self, requests: Sequence[Request]) -> list[Answer | Exception]:
        self.batches.append([bytes(request.body) for request in requests])  # type: ignore[arg-type]
        self.entered.release()
        assert self.may_answer.wait(300)
        return [self._answer(bytes(request.body)) for request in requests]  # type: ignore[arg-type]

    def _answer(self, body: bytes) -> Answer | Exception:
        if body == b"stop":
            raise SystemExit("as asked")
        return {b"bad": InputError("bad"), b"defect": RuntimeError("a defect")}.get(body) or Answer(body, "x", 2)


Put = Callable[[bytes], "asyncio.Future[Reply]"]
Steps = Callable[[Workers, Put, Handler], Any]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs steps beside workers that use a handler, and ends the workers."""

    def run(steps: Steps, handler: Handler, *, workers: int = 1, max_delay_s: float = 0.0, **limits: int) -> None:
        monkeypatch.setattr(hooks, "load_handler", lambda *_, **__: handler)

        async def main() -> None:
            loop = asyncio.get_running_loop()
            settings = make_settings(workers=workers, payload_mb=6)._replace(max_delay_s=max_delay_s)
            threads = Workers(loop, settings, ServerLimits(10, **limits))

            def put(body: bytes) -> asyncio.Future[Reply]:
                future: asyncio.Future[Reply] = loop.create_future()
                threads.put(Pending(Request(body, None), future))
                return future

            threads.start()
            try:
                assert await threads.loaded is handler
                await steps(threads, put, handler)
            finally:
                handler.may_answer.set()
                assert await loop.run_in_executor(None, threads.stop, 30.0)

        asyncio.run(asyncio.wait_for(main(), 60))

    return run


async def entered(handler: Handler) -> None:
    """Waits until a worker has begun a batch."""
    assert await asyncio.get_running_loop().run_in_executor(None, lambda: handler.entered.acquire(timeout=300))


def test_what_arrives_while_a_batch_runs_is_the_next_one(run: Callable[..., None]) -> None:
    async def steps(workers: Workers, put: Put, handler: Handler) -> None:
        first = put(b"first")
        await entered(handler)
        others = [put(b"%d" % number) for number in range(3)]
        handler.may_answer.set()
        assert [reply.body for reply in await asyncio.gather(first, *others)] == [b"first", b"0", b"1", b"2"]
        assert handler.batches == [[b"first"], [b"0", b"1", b"2"]]
        assert workers.rows == 8

    run(steps, Handler())


def test_a_batch_has_so_many_bytes_that_other_workers_have_work_as_well(run: Callable[..., None]) -> None:
    large = b"x" * (TAKE_BYTES // 2)

    async def steps(_: Workers, put: Put, handler: Handler) -> None:
        first = put(b"first")
        await entered(handler)
        others = [put(large) for _ in range(3)] + [put(large + b"x" * TAKE_BYTES)]
        handler.may_answer.set()
        await asyncio.gather(first, *others)
        assert [len(batch) for batch in handler.batches] == [1, 2, 1, 1]

    run(steps, Handler())


def test_each_request_has_its_own_error_and_only_defects_are_printed(
    run: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    async def steps(_: Workers, put: Put, handler: Handler) -> None:
        first = put(b"first")
        await entered(handler)
        others = [put(body) for body in (b"good", b"bad", b"defect")]
        handler.may_answer.set()
        replies = await asyncio.gather(first, *others)
        assert [(reply.status, reply.body) for reply in replies] == [
            (200, b"first"),
            (200, b"good"),
            (400, b"bad\n"),
            (500, b"a defect\n"),
        ]

    run(steps, Handler())
    said = capsys.readouterr().err
    assert "RuntimeError: a defect" in said
    assert "InputError" not in said


def test_a_worker_continues_after_an_unexpected_exception(
    run: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    async def steps(_: Workers, put: Put, handler: Handler) -> None:
        handler.may_answer.set()
        assert (await put(b"stop")).status == 500
        assert (await put(b"good")).status == 200

    run(steps, Handler())
    assert "SystemExit: as asked" in capsys.readouterr().err


def test_hooks_get_one_request_at_a_time_in_one_thread(run: Callable[..., None]) -> None:
    async def steps(_: Workers, put: Put, handler: Handler) -> None:
        first = put(b"first")
        await entered(handler)
        others = [put(b"%d" % number) for number in range(3)]
        handler.may_answer.set()
        await asyncio.gather(first, *others)
        assert handler.batches == [[b"first"], [b"0"], [b"1"], [b"2"]]

    run(steps, Handler(has_hooks=True), workers=2)


def test_a_request_waits_for_others_only_while_a_batch_runs(run: Callable[..., None]) -> None:
    async def steps(_: Workers, put: Put, handler: Handler) -> None:
        first = put(b"first")
        await entered(handler)  # at once: nothing else runs
        second = put(b"second")
        third = put(b"third")
        await asyncio.sleep(0.05)
        assert handler.batches == [[b"first"]]  # the second worker waits, for a minute at the most
        handler.may_answer.set()
        await asyncio.gather(first, second, third)
        assert handler.batches == [[b"first"], [b"second", b"third"]]

    run(steps, Handler(), workers=2, max_delay_s=60.0)


def test_what_is_queued_is_answered_before_the_workers_end(run: Callable[..., None]) -> None:
    async def steps(workers: Workers, put: Put, handler: Handler) -> None:
        replies = [put(b"%d" % number) for number in range(5)]
        await entered(handler)
        loop = asyncio.get_running_loop()
        assert not await loop.run_in_executor(None, workers.stop, 0.0)
        handler.may_answer.set()
        assert [reply.body for reply in await asyncio.gather(*replies)] == [b"%d" % number for number in range(5)]

    run(steps, Handler())


def test_a_request_that_went_away_is_no_trouble(run: Callable[..., None]) -> None:
    async def steps(_: Workers, put: Put, handler: Handler) -> None:
        gone = put(b"gone")
        await entered(handler)
        stays = put(b"stays")
        gone.cancel()
        handler.may_answer.set()
        assert (await stays).body == b"stays"

    run(steps, Handler())


def test_no_request_is_begun_while_too_many_bytes_of_replies_are_unsent(run: Callable[..., None]) -> None:
    async def steps(workers: Workers, put: Put, handler: Handler) -> None:
        handler.may_answer.set()
        first = await put(b"12345")
        second = put(b"678")
        await asyncio.sleep(0.05)
        assert handler.batches == [[b"12345"]]
        workers.sent(first)
        assert (await second).body == b"678"
        workers.sent(await second)

    run(steps, Handler(), reply_bytes=4, free_bytes=0)


def test_while_large_replies_are_unsent_only_large_requests_wait(run: Callable[..., None]) -> None:
    async def steps(workers: Workers, put: Put, handler: Handler) -> None:
        handler.may_answer.set()
        first = await put(b"x" * 25)
        assert workers.bytes_wanted() == 0  # nothing waits
        large = [put(b"y" * 20), put(b"z" * 11)]
        for _ in range(20):
            assert (await put(b"0123456789")).body == b"0123456789"
        assert not any(reply.done() for reply in large)
        assert workers.bytes_wanted() == 15 - 7
        workers.sent(first)
        assert [len((await reply).body) for reply in large] == [20, 11]
        assert b"".join(b"".join(batch) for batch in handler.batches).endswith(b"y" * 20 + b"z" * 11)

    run(steps, Handler(), reply_bytes=14, free_bytes=10)


def test_small_replies_are_not_counted(run: Callable[..., None]) -> None:
    async def steps(_: Workers, put: Put, handler: Handler) -> None:
        handler.may_answer.set()
        for _each in range(20):
            assert (await put(b"0123456789")).body == b"0123456789"

    run(steps, Handler(), reply_bytes=1, free_bytes=10)


def test_the_reply_of_a_request_that_went_away_is_not_counted(run: Callable[..., None]) -> None:
    async def steps(_: Workers, put: Put, handler: Handler) -> None:
        gone = put(b"12345")
        await entered(handler)
        gone.cancel()
        handler.may_answer.set()
        assert (await put(b"678")).body == b"678"

    run(steps, Handler(), reply_bytes=4, free_bytes=0)


class Deadly(Handler):
    """Ends its worker's thread: nothing in the program should, so it is done by what the thread reads between requests."""

    @property
    def has_hooks(self) -> bool:
        if self.batches:
            raise MemoryError("as asked")
        return False

    @has_hooks.setter
    def has_hooks(self, _: bool) -> None:
        pass


def test_the_death_of_all_workers_is_told_and_leaves_no_request_waiting(
    run: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    async def steps(workers: Workers, put: Put, handler: Handler) -> None:
        assert workers.all_well()
        assert workers.can_answer()
        handler.may_answer.set()
        assert (await put(b"first")).status == 200
        lost = put(b"lost")  # in the hands of the thread that dies
        while workers.can_answer():
            await asyncio.sleep(0.01)
        assert not workers.all_well()
        reply = await put(b"second")
        assert (reply.status, reply.body) == (503, b"the model cannot answer any more\n")
        assert (await lost).status == 503

    run(steps, Deadly())
    said = capsys.readouterr().err
    assert "a worker thread ended" in said
    assert "MemoryError: as asked" in said


def test_a_worker_that_ended_is_not_waited_for(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    deliver = Workers._deliver
    failures = [MemoryError("as asked")]

    def fail_once(workers: Workers, replies: Any) -> None:
        if failures:
            raise failures.pop()
        deliver(workers, replies)

    monkeypatch.setattr(Workers, "_deliver", fail_once)

    async def steps(workers: Workers, put: Put, handler: Handler) -> None:
        handler.may_answer.set()
        assert (await put(b"lost")).status == 503
        while workers.all_well():
            await asyncio.sleep(0.01)
        assert workers.can_answer()
        assert (await put(b"alone")).body == b"alone"  # at once, as no batch runs

    run(steps, Handler(), workers=2, max_delay_s=300.0)
    assert "a worker thread ended" in capsys.readouterr().err


def test_bodies_that_no_worker_will_answer_are_let_go(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError("as asked")

    monkeypatch.setattr(Workers, "_answer", fail)
    monkeypatch.setattr("fastinfer.serving.batcher.TAKE_BYTES", 10)

    async def steps(workers: Workers, put: Put, _: Handler) -> None:
        replies = [put(b"x" * 10) for _each in range(5)]
        assert [(await reply).status for reply in replies] == [503] * 5
        assert not workers._queue

    run(steps, Handler())
    assert "MemoryError: as asked" in capsys.readouterr().err


def test_an_error_of_loading_the_model_is_that_of_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise SystemExit("as asked")

    monkeypatch.setattr(hooks, "load_handler", fail)

    async def main() -> None:
        workers = Workers(asyncio.get_running_loop(), make_settings(workers=1, payload_mb=6), ServerLimits(10))
        workers.start()
        await asyncio.wait([workers.loaded], timeout=300)
        assert isinstance(workers.loaded.exception(), SystemExit)
        assert not workers.all_well()
        assert workers.stop(30.0)

    asyncio.run(main())
