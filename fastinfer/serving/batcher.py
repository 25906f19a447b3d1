"""Requests to batches: one queue, and the threads that take requests from it and answer them.

Requests that arrive while a batch is being computed share the next one, so a single request does not wait. Each worker
decodes, computes and prints with its own graph.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Callable

from ..errors import InputError
from ..handlers.request import Answer, Request
from .limits import ServerLimits
from .log import report
from .reply import Reply, answer_reply, error_reply, text_reply
from .settings import Settings

if TYPE_CHECKING:
    from ..handlers.hooks import Handler

# A worker takes requests from the queue up to this many bytes; the others are left for other workers.
TAKE_BYTES = 1 << 20

NO_WORKER = text_reply(503, "the model cannot answer any more")


class Pending:
    """A request that waits for its reply, in the event loop's ``future``."""

    __slots__ = ("arrived", "future", "request", "size")

    def __init__(self, request: Request, future: asyncio.Future[Reply]) -> None:
        self.request = request
        self.size = len(request.body)
        self.future = future
        self.arrived = time.monotonic()


class Workers:
    """The threads that load the model and answer requests, and the queue in front of them.

    So many attributes: what is queued, held and counted is guarded by one lock.

    Args:
        loop: the event loop that gets the replies.
        settings: the server's.
        limits: how many bytes of replies may wait to be sent.

    Attributes:
        loaded: the loaded model, or the error of loading it.
        rows: the number of predicted rows so far, for a message: threads count without a lock.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, settings: Settings, limits: ServerLimits) -> None:
        self._loop = loop
        self._settings = settings
        self._limits = limits
        self._unsent = 0  # counted bytes of replies
        self._queue: deque[Pending] = deque()
        self._held: deque[Pending] = deque()  # large requests that wait for replies to be sent; then they come first
        self._change = threading.Condition()
        self._busy = 0
        self._stopped = False
        self._dead = 0  # threads that ended before they should
        self._threads: list[threading.Thread] = []
        self.loaded: asyncio.Future[Handler] = loop.create_future()
        self.rows = 0

    def start(self) -> None:
        """Starts to load the model; when it is loaded, ``loaded`` is set and the workers start."""
        self._start_thread(self._load)

    def all_well(self) -> bool:
        """Whether the model is loaded and every worker works."""
        return self._is_loaded() and not self._dead

    def can_answer(self) -> bool:
        """Whether the model is loaded and a worker works."""
        return self._is_loaded() and self._has_worker()

    def put(self, pending: Pending) -> None:
        """Queues a request. What it gets as its reply must be given to :meth:`sent`."""
        with self._change:
            if self._has_worker():
                self._queue.append(pending)
                self._change.notify()
                return
        self._deliver([(pending, NO_WORKER)])

    def sent(self, reply: Reply) -> None:
        """Says that a reply is no longer held."""
        size = self._counted(reply)
        if not size:
            return
        with self._change:
            was_full = self._unsent > self._limits.reply_bytes
            self._unsent -= size
            if was_full:
                self._change.notify_all()

    def bytes_wanted(self) -> int:
        """How many bytes of unsent replies should be given up, so that requests that wait for their end can be begun."""
        with self._change:
            limits = self._limits
            if self._held or (self._queue and self._unsent > limits.small_reply_bytes):
                return max(0, self._unsent - limits.reply_bytes // 2)
            return 0

    def stop(self, timeout_s: float) -> bool:
        """Ends the workers when the queue is empty; returns whether all have ended in time."""
        with self._change:
            self._stopped = True
            self._change.notify_all()
        end = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _is_loaded(self) -> bool:
        return self.loaded.done() and not self.loaded.cancelled() and self.loaded.exception() is None

    def _has_worker(self) -> bool:
        return self._dead < len(self._threads)

    def _counted(self, reply: Reply) -> int:
        return max(0, len(reply.body) - self._limits.free_bytes)

    def _can_begin(self) -> bool:
        """Whether the first of the queue may be begun. Large ones are put aside while too many replies are unsent."""
        limits = self._limits
        if self._unsent > limits.small_reply_bytes:
            return False
        if self._unsent > limits.reply_bytes:
            while self._queue and self._queue[0].size > limits.free_bytes:
                self._held.append(self._queue.popleft())
        elif self._held:
            self._queue.extendleft(reversed(self._held))
            self._held.clear()
        return bool(self._queue)

    def _start_thread(self, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=self._run, args=(target, *arguments), name="fastinfer-worker", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self, target: Callable[..., None], *arguments: Any) -> None:
        try:
            target(*arguments)
        except BaseException as error:
            report("a worker thread ended", error)
            with self._change:
                self._dead += 1
                abandoned: list[Pending] = []
                if not self._has_worker():
                    abandoned = [*self._held, *self._queue]
                    self._held.clear()
                    self._queue.clear()
            self._deliver([(pending, NO_WORKER) for pending in abandoned])

    def _load(self) -> None:
        from ..handlers.hooks import load_handler  # and NumPy with it: the port is open before that

        settings = self._settings
        try:
            handler = load_handler(
                settings.model,
                program=settings.program,
                exact=settings.exact,
                batch_size=settings.batch_size,
                device=settings.device,
                threads=settings.workers,
                choice=settings.choice,
                runtime=settings.runtime,
            )
        except BaseException as error:
            self._call_in_loop(set_exception, self.loaded, error)
            return
        self._call_in_loop(set_result, self.loaded, handler)
        if not handler.has_hooks:
            for _ in range(settings.workers - 1):
                self._start_thread(self._work, handler)
        # Hooks run in the thread that loaded them, one request at a time.
        self._work(handler)

    def _work(self, handler: Handler) -> None:
        while batch := self._take():
            # Hooks answer one request at a time, and may take long: each reply is sent when it is ready.
            try:
                for requests in [[request] for request in batch] if handler.has_hooks else [batch]:
                    self._answer(handler, requests)
            except BaseException:
                self._deliver([(pending, NO_WORKER) for pending in batch])  # those that have no reply yet
                raise
            finally:
                with self._change:
                    self._busy -= 1
                    self._change.notify()

    def _answer(self, handler: Handler, requests: list[Pending]) -> None:
        try:
            results = handler.answer_many([pending.request for pending in requests])
            _report_defects(results)
            replies = [_reply_for(result) for result in results]
            self.rows += sum(result.rows for result in results if not isinstance(result, Exception))
        except BaseException as error:  # a defect: the requests still get a reply, and the worker continues
            report("a request failed", error)
            replies = [error_reply(error)] * len(requests)
        finally:
            results = []  # tracebacks of errors refer to this frame and would keep the bodies in memory
        self._deliver(list(zip(requests, replies)))

    def _take(self) -> list[Pending]:
        """The requests of the next batch; none when it is time to end."""
        with self._change:
            while True:
                while not self._can_begin():
                    if self._stopped and not self._queue and not self._held:
                        return []
                    self._change.wait()
                self._wait_for_batch()
                if self._can_begin():
                    break
                # Another worker was faster.
            requests = [self._queue.popleft()]
            size = requests[0].size
            while self._can_begin() and size + self._queue[0].size <= TAKE_BYTES:
                size += self._queue[0].size
                requests.append(self._queue.popleft())
            self._busy += 1
            if self._queue:
                self._change.notify()
            return requests

    def _wait_for_batch(self) -> None:
        """Waits for more requests while another batch runs, no longer than the first request may be delayed."""
        delay_s = self._settings.max_delay_s
        while delay_s and self._busy and self._queue and not self._stopped:
            remaining_s = self._queue[0].arrived + delay_s - time.monotonic()
            if remaining_s <= 0 or sum(pending.size for pending in self._queue) >= TAKE_BYTES:
                return
            self._change.wait(remaining_s)

    def _deliver(self, replies: list[tuple[Pending, Reply]]) -> None:
        if size := sum(self._counted(reply) for _, reply in replies):
            with self._change:
                self._unsent += size
        self._call_in_loop(self._set_replies, replies)

    def _set_replies(self, replies: list[tuple[Pending, Reply]]) -> None:
        for pending, reply in replies:
            if pending.future.done():
                self.sent(reply)
            else:
                pending.future.set_result(reply)

    def _call_in_loop(self, function: Callable[..., object], *arguments: Any) -> None:
        # The loop is closed if the server stopped without waiting for this thread.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)


def set_result(future: asyncio.Future[Any], result: Any) -> None:
    """Sets a future's result, unless it was cancelled."""
    if not future.done():
        future.set_result(result)


def set_exception(future: asyncio.Future[Any], error: BaseException) -> None:
    """Sets a future's exception, unless it was cancelled."""
    if not future.done():
        future.set_exception(error)


def _reply_for(result: Answer | Exception) -> Reply:
    return error_reply(result) if isinstance(result, Exception) else answer_reply(result)


def _report_defects(results: Sequence[Answer | Exception]) -> None:
    """Reports a failed hook or model, or a defect, once each: for the operator; the sender gets a status."""
    for error in {id(result): result for result in results if isinstance(result, Exception)}.values():
        if not isinstance(error, InputError):
            report("a request failed", error)
