"""The threads that compute, and the queue before them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import traceback
from collections import deque
from typing import TYPE_CHECKING, Any

from ..handlers.request import Request
from .reply import Reply, reply_to, reply_with
from .settings import Settings

if TYPE_CHECKING:
    from ..handlers.hooks import Handler

# A worker takes requests from the queue until it has so much to do: the others should have something as well.
TAKE_BYTES = 1 << 20


class Pending:
    """A request that waits for its reply, in the event loop's ``future``."""

    __slots__ = ("arrived", "future", "request", "size")

    def __init__(self, request: Request, future: asyncio.Future[Reply]) -> None:
        self.request = request
        self.size = len(request.body)
        self.future = future
        self.arrived = time.monotonic()


class Workers:
    """The threads that compute, and the queue before them.

    Args:
        loop: where replies go.
        settings: the command line's.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, settings: Settings) -> None:
        self._loop = loop
        self._settings = settings
        self._queue: deque[Pending] = deque()
        self._change = threading.Condition()
        self._busy = 0
        self._stopped = False
        self._threads: list[threading.Thread] = []
        self.loaded: asyncio.Future[Handler] = loop.create_future()
        self.rows = 0

    def start(self) -> None:
        """Starts loading the model, and then the workers. ``loaded`` says when, or what was wrong."""
        self._start_thread(self._load)

    def put(self, pending: Pending) -> None:
        """Queues a request."""
        with self._change:
            self._queue.append(pending)
            self._change.notify()

    def stop(self, timeout_s: float) -> bool:
        """Ends the workers when they have done what is queued; whether all have ended in time."""
        with self._change:
            self._stopped = True
            self._change.notify_all()
        end = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _start_thread(self, target: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, name="fastinfer-worker", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _load(self) -> None:
        from ..handlers.hooks import load_handler  # and with it NumPy

        settings = self._settings
        try:
            handler = load_handler(
                settings.model,
                program=settings.program,
                exact=settings.exact,
                batch_size=settings.batch_size,
                device=settings.device,
                threads=settings.workers,
            )
        except BaseException as error:
            self._tell(_set_exception, self.loaded, error)
            return
        self._tell(set_result, self.loaded, handler)
        if not handler.has_hooks:
            for _ in range(settings.workers - 1):
                self._start_thread(self._work, handler)
        # Hooks run in the thread that loaded them, one request at a time.
        self._work(handler)

    def _work(self, handler: Handler) -> None:
        while batch := self._take():
            # Hooks answer one request at a time, and may take long: each is sent when it is ready.
            for requests in [[request] for request in batch] if handler.has_hooks else [batch]:
                self._answer(handler, requests)
            with self._change:
                self._busy -= 1
                self._change.notify()

    def _answer(self, handler: Handler, requests: list[Pending]) -> None:
        try:
            results = handler.answer_many([request.request for request in requests])
            replies = [reply_with(result) for result in results]
            self.rows += sum(result.rows for result in results if not isinstance(result, Exception))
        except BaseException as error:  # a defect: requests still get a reply, and the worker goes on
            traceback.print_exc()
            replies = [reply_to(error)] * len(requests)
        finally:
            results = []  # their errors' tracebacks refer to this frame
        self._tell(_deliver, list(zip(requests, replies)))

    def _take(self) -> list[Pending]:
        """The requests of the next batch; none when it is time to end."""
        with self._change:
            while True:
                while not self._queue:
                    if self._stopped:
                        return []
                    self._change.wait()
                self._wait_for_company()
                if self._queue:
                    break
                # Another worker was faster.
            requests = [self._queue.popleft()]
            size = requests[0].size
            while self._queue and size + self._queue[0].size <= TAKE_BYTES:
                size += self._queue[0].size
                requests.append(self._queue.popleft())
            self._busy += 1
            if self._queue:
                self._change.notify()
            return requests

    def _wait_for_company(self) -> None:
        """Holds the first request back while another batch runs, for as long as it may be."""
        delay_s = self._settings.max_delay_s
        while delay_s and self._busy and self._queue and not self._stopped:
            remaining = self._queue[0].arrived + delay_s - time.monotonic()
            if remaining <= 0 or sum(request.size for request in self._queue) >= TAKE_BYTES:
                return
            self._change.wait(remaining)

    def _tell(self, what: Any, *arguments: Any) -> None:
        # The loop is closed where the end did not wait for us.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(what, *arguments)


def _deliver(replies: list[tuple[Pending, Reply]]) -> None:
    for request, reply in replies:
        set_result(request.future, reply)


def set_result(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _set_exception(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
