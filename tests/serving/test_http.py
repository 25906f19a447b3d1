"""The server: a process of its own, spoken to over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TextIO

import aiohttp
import numpy as np
import pytest

from fastinfer import Predictor
from tests.conftest import PATIENCE_S, csv, wait_until

ROOT = Path(__file__).parent.parent.parent
CSV, JSON, NPY = "text/csv", "application/json", "application/x-npy"
LIMIT = 6_553_500


class Reply(NamedTuple):
    status: int
    body: bytes
    content_type: str | None


class Server:
    """A running server."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: TextIO) -> None:
        self.process = process
        self.port = port
        self._log = log

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)

    def refuses(self) -> bool:
        """Whether it takes no connections."""
        with contextlib.suppress(ConnectionRefusedError), contextlib.closing(self.connect()) as connection:
            connection.connect()
            return False
        return True

    def get(self, path: str) -> Reply:
        return self._ask("GET", path, None, {})

    def post(self, body: bytes, content_type: str | None = CSV, accept: str | None = None, **headers: str) -> Reply:
        named = {"Content-Type": content_type, "Accept": accept, **headers}
        return self._ask("POST", "/invocations", body, {name: value for name, value in named.items() if value})

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Reply:
        with contextlib.closing(self.connect()) as connection:
            connection.request(method, path, body, headers)
            return receive(connection)

    def wait_until_ready(self) -> None:
        def is_ready() -> bool:
            assert self.process.poll() is None, self.end()
            with contextlib.suppress(ConnectionRefusedError):
                return self.get("/ping").status == 200
            return False

        wait_until(is_ready, every_s=0.02)

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Ends it; its exit code and what it said."""
        self.process.send_signal(number)
        said = self.end()
        return self.process.returncode, said

    def end(self) -> str:
        """Waits for its end; what it said."""
        self.process.wait(PATIENCE_S)
        self._log.seek(0)
        return self._log.read()


def receive(connection: http.client.HTTPConnection) -> Reply:
    response = connection.getresponse()
    return Reply(response.status, response.read(), response.getheader("Content-Type"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(
    *arguments: str, wait: bool = True, limits: dict[str, float] | None = None, shell: str = "", **environment: str
) -> Iterator[Server]:
    """A server in a process of its own.

    Args:
        arguments: of the command.
        wait: whether to wait until it is ready.
        limits: to serve with these of its limits changed.
        shell: a redirection.
        environment: variables.
    """
    port = free_port()
    module = ["fastinfer.serve"] if limits is None else ["tests.serving.limited", json.dumps(limits)]
    command = [sys.executable, "-W", "error::ResourceWarning", "-m", *module, "--port", str(port), *arguments]
    # A file, as a pipe that nobody reads is full after some hundred lines, and holds the server up.
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            ["/bin/sh", "-c", f'exec "$@" {shell}', "sh", *command],
            stderr=log,
            cwd=ROOT,
            env={**os.environ, **environment},
        )
        server = Server(process, port, log)
        try:
            if wait:
                server.wait_until_ready()
            yield server
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module", params=["exact", "default"])
def served(request: pytest.FixtureRequest, mlp: Path) -> Iterator[tuple[Server, Predictor]]:
    """A server of the notebook's network, and what answers its requests alone."""
    exact = request.param == "exact"
    with serving("--model", str(mlp), "--workers", "2", *(["--exact"] if exact else [])) as server:
        yield server, Predictor(mlp, exact=exact)
        code, said = server.stop()
        assert code == 0
        assert [line.split()[0] for line in said.splitlines()] == ["serving", "stopped:"], said


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def request_bodies(digits: np.ndarray) -> list[tuple[bytes, str]]:
    """Bodies of all types and many sizes."""
    random = np.random.RandomState(11)
    bodies = []
    for rows in (*([1] * 40), 2, 3, 7, 8, 9, 100, 240, 241, 480, 481, 600):
        part = digits[random.randint(0, len(digits), rows)]
        bodies.append((csv(part, "integers"), CSV))
    few = digits[:5].reshape(-1, 1, 28, 28)
    bodies.append((json.dumps(few.tolist()).encode(), JSON))
    bodies.append((json.dumps(few.reshape(5, 784).tolist()).encode(), JSON))
    bodies.append((npy(few / 255), NPY))
    not_numbers = digits[:2].astype(object)
    not_numbers[0, 300], not_numbers[1, 301] = "nan", "inf"
    bodies.append((b"\n".join(b",".join(str(cell).encode() for cell in row) for row in not_numbers), CSV))
    return bodies


BAD = [
    (b"1,2,3\n4,oops\n", CSV, None, 400),
    (b"1,2,3\n", CSV, None, 400),
    (b"", CSV, None, 400),
    (b"[[1, 2], [3]]", JSON, None, 400),
    (b"{", JSON, None, 400),
    (b"no npy", NPY, None, 400),
    (b"[[1, 2]]", JSON, None, 400),
    (b"1", "text/plain", None, 415),
    (b"1", "text/csv; charset=utf-16", None, 415),
    (b"1", None, None, 415),
    (b"0", CSV, "image/png", 406),
]


def test_each_type_is_answered_as_alone(served: tuple[Server, Predictor], digits: np.ndarray) -> None:
    server, predictor = served
    for body, content_type in request_bodies(digits):
        for accept in (None, "*/*", JSON, CSV, NPY, f"image/png, {NPY}"):
            reply = server.post(body, content_type, accept)
            assert (reply.body, reply.content_type) == predictor.answer(body, content_type, accept)
            assert reply.status == 200


@pytest.mark.parametrize("connections", [4, 64])
def test_concurrent_requests_are_answered_as_alone_also_among_bad_ones(
    connections: int, served: tuple[Server, Predictor], digits: np.ndarray
) -> None:
    server, predictor = served
    good = [(body, kind, None, 200, predictor.answer(body, kind)[0]) for body, kind in request_bodies(digits)]
    bad = [(body, kind, accept, status, None) for body, kind, accept, status in BAD]
    order = np.random.RandomState(connections).permutation(len(good) * 8 + len(bad) * 8)
    requests = [(good * 8 + bad * 8)[place] for place in order]

    async def ask_all() -> None:
        room = asyncio.Semaphore(connections)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def ask(
                body: bytes, kind: str | None, accept: str | None, status: int, expected: bytes | None
            ) -> None:
                headers = {"Accept": accept or "*/*", **({"Content-Type": kind} if kind else {})}
                skip = () if kind else ("Content-Type",)
                async with (
                    room,
                    session.post(
                        f"http://127.0.0.1:{server.port}/invocations",
                        data=io.BytesIO(body),
                        headers=headers,
                        skip_auto_headers=skip,
                    ) as response,
                ):
                    found = await response.read()
                    assert response.status == status, found
                    assert expected is None or found == expected

            await asyncio.gather(*(ask(*request) for request in requests))

    asyncio.run(ask_all())


def test_errors_state_what_is_wrong(served: tuple[Server, Predictor]) -> None:
    server, _ = served
    for body, content_type, accept, status in BAD:
        reply = server.post(body, content_type, accept)
        assert (reply.status, reply.content_type) == (status, "text/plain; charset=utf-8")
        assert reply.body.strip()
    assert server.post(b"1,2,3\n4,oops,6\n").body == b"2:3: expected a number, found 'oops' (field 2 of 3)\n"
    assert server.get("/nowhere").status == 404
    assert server.get("/invocations").status == 405


def test_one_connection_carries_many_requests(served: tuple[Server, Predictor], digits: np.ndarray) -> None:
    server, predictor = served
    with contextlib.closing(server.connect()) as connection:
        connection.connect()
        kept = connection.sock
        for number, (body, _, _, status) in enumerate([(csv(digits[:1]), CSV, None, 200), *BAD] * 3):
            connection.request("POST", "/invocations", body, {"Content-Type": CSV})
            reply = receive(connection)
            if status == 200:
                assert reply.body == predictor.answer(body)[0], number
            assert connection.sock is kept


def test_bodies_up_to_the_limit_are_accepted(served: tuple[Server, Predictor], digits: np.ndarray) -> None:
    server, predictor = served
    line = csv(digits[:1], "integers")
    rows = LIMIT // len(line)
    body = line * rows + b"\n" * (LIMIT - rows * len(line))
    assert len(body) == LIMIT
    reply = server.post(body)
    assert (reply.status, reply.body) == (200, predictor.answer(body)[0])
    too_much = server.post(body + b"\n")
    assert (too_much.status, b"6,553,500" in too_much.body) == (413, True)

    def pieces(end: bytes) -> Iterator[bytes]:
        for first in range(0, len(body), 1 << 20):
            yield body[first : first + (1 << 20)]
        if end:
            yield end

    for end, status in ((b"", 200), (b"\n", 413)):  # without a length, in chunks
        with contextlib.closing(server.connect()) as connection:
            connection.request("POST", "/invocations", pieces(end), {"Content-Type": CSV})
            assert receive(connection).status == status


def test_a_compressed_body_is_refused(served: tuple[Server, Predictor]) -> None:
    assert served[0].post(b"\x1f\x8b", **{"Content-Encoding": "gzip"}).status == 415


def test_a_sender_that_goes_away_harms_no_one(served: tuple[Server, Predictor], digits: np.ndarray) -> None:
    server, predictor = served
    body = csv(digits[:1])
    head = (
        f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: {CSV}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    )
    for sent in (head, head[:20], head + body[:50], head + body, b"\x00\xff nonsense\r\n\r\n"):
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", server.port)) as raw:
                raw.sendall(sent)
        assert server.post(body).body == predictor.answer(body)[0]


def test_parameters_for_a_transform_job_are_returned(mlp: Path) -> None:
    with serving("--model", str(mlp), "--workers", "2", SAGEMAKER_MAX_PAYLOAD_IN_MB="20") as server:
        reply = server.get("/execution-parameters")
        assert (reply.status, reply.content_type) == (200, "application/json; charset=utf-8")
        assert json.loads(reply.body) == {
            "MaxConcurrentTransforms": 5,
            "BatchStrategy": "MULTI_RECORD",
            "MaxPayloadInMB": 20,
        }
        assert server.post(b"0," * (LIMIT // 2 + 1)).status == 400  # not 413


def test_nothing_is_answered_before_the_model_is_there(mlp: Path, tmp_path: Path) -> None:
    model = shutil.copytree(mlp, tmp_path / "model")
    (model / "code").mkdir()
    (model / "code" / "inference.py").write_text(
        "import time, os\n"
        "def model_fn(model_dir):\n"
        "    while not os.path.exists(model_dir + '/go'): time.sleep(0.01)\n"
        "def transform_fn(*all): return 'done'\n"
    )
    with serving("--model", str(model), wait=False) as server:
        statuses = []
        while not statuses:
            with contextlib.suppress(ConnectionRefusedError):
                statuses = [server.get("/ping").status, server.post(b"1").status]
        assert statuses == [503, 503]
        (model / "go").touch()
        server.wait_until_ready()
        assert server.post(b"1").body == b"done"


def test_it_can_be_ended_while_it_loads(mlp: Path, tmp_path: Path) -> None:
    model = shutil.copytree(mlp, tmp_path / "model")
    (model / "code").mkdir()
    (model / "code" / "inference.py").write_text("import time\ntime.sleep(1000)\n")
    with serving("--model", str(model), wait=False) as server:
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                server.get("/ping")
                break
        code, said = server.stop()
        assert code == 0
        assert said.startswith("stopped: 0 requests answered")


HOOKS = """
import json
import os
import time

def input_fn(data, content_type, model):
    if data == "fail":
        raise RuntimeError("as asked")
    if data == "teapot":
        from sagemaker_inference.errors import BaseInferenceToolkitError
        raise BaseInferenceToolkitError(418, "short and stout", "teapot")
    if data == "exit":
        raise SystemExit(3)
    if data == "wait":
        open(os.environ["SIGNS"] + "/begun", "w").close()
        while not os.path.exists(os.environ["SIGNS"] + "/end"):
            time.sleep(0.01)
    return data

def predict_fn(data, model):
    return type(model).__name__ + " " + data

def output_fn(prediction, accept):
    kind = json.loads(prediction[7:]) if prediction.startswith("Module {") else {"type": "application/x-mine"}
    return (json.dumps(prediction), kind["type"])
"""


@pytest.fixture
def hooked(mlp: Path, tmp_path: Path) -> Path:
    model = shutil.copytree(mlp, tmp_path / "hooked")
    (model / "code").mkdir()
    (model / "code" / "mine.py").write_text(HOOKS)
    return model


def test_the_hooks_of_a_model_answer(hooked: Path) -> None:
    (hooked / "code" / "requirements.txt").write_text("no-such-package-at-all")
    with serving("--model", str(hooked), SAGEMAKER_PROGRAM="mine.py") as server:
        assert server.post(b"x") == (200, b'"Module x"', "application/x-mine")
        with ThreadPoolExecutor(8) as threads:
            bodies = [b"fail" if number % 3 == 0 else b"%d" % number for number in range(60)]
            replies = list(threads.map(server.post, bodies))
        for body, reply in zip(bodies, replies):
            assert reply[:2] == ((500, b"as asked\n") if body == b"fail" else (200, b'"Module %s"' % body))
        assert server.post(b"teapot")[:2] == (418, b"short and stout\n")
        refused = server.post(b"exit")
        assert (refused.status, b"mine.py:13: input_fn failed: SystemExit: 3" in refused.body) == (500, True)
        for sign in ("\x7f", "\x00", "\n", "\x85", "\u20ac", "\ud800"):
            refused = server.post(json.dumps({"type": f"a/{sign}"}).encode())
            text = b"no answer can have the content type 'a/"
            assert (refused.status, refused.body[: len(text)]) == (500, text)
        assert server.post(b'{"type": "a/\xc3\xa9"}').status == 200
        code, said = server.stop()
    assert code == 0
    assert "hooks of" in said
    assert f"warning: {hooked}/code/requirements.txt is not installed here" in said
    assert 'raise RuntimeError("as asked")' in said  # the hook's author sees where


def test_a_model_that_would_end_the_process_is_named(hooked: Path) -> None:
    (hooked / "code" / "mine.py").write_text("import sys\ndef model_fn(model_dir):\n    sys.exit(0)\n")
    with serving("--model", str(hooked), "--program", "mine", wait=False) as server:
        said = server.end()
    assert server.process.returncode == 3
    assert said == f"error: {hooked}/code/mine.py:3: model_fn failed: SystemExit: 0\n"


@pytest.mark.parametrize("stderr", ["full", "closed"])
def test_what_cannot_be_logged_harms_no_request(stderr: str, hooked: Path) -> None:
    to = {"full": "2>/dev/full", "closed": "2>&-"}[stderr]
    options = ["--model", str(hooked), "--program", "mine", "--access-log"]
    with serving(*options, shell=to) as server:
        for _ in range(3):
            assert server.post(b"fail")[:2] == (500, b"as asked\n")
            assert server.post(b"x").body == b'"Module x"'
            assert server.get("/ping").status == 200
        assert server.stop()[0] == 0


def test_a_module_that_is_named_and_not_there_ends_it(mlp: Path) -> None:
    with serving("--model", str(mlp), "--program", "gone.py", wait=False) as server:
        said = server.end()
    assert server.process.returncode == 3
    hint = "Hint: --program names the module; --program '' means that none serves"
    assert said == f"error: {mlp}: code/gone.py does not exist. {hint}\n"


def test_a_model_that_cannot_be_loaded_ends_it(tmp_path: Path) -> None:
    with serving("--model", str(tmp_path), wait=False) as server:
        said = server.end()
    assert server.process.returncode == 3
    assert said.startswith(f"error: {tmp_path}: there is no file in it. Hint: expected PREFIX-symbol.json")


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_it_after_what_is_under_way(number: int, expected: int, hooked: Path, tmp_path: Path) -> None:
    options = ["--program", "mine", "--access-log", "--grace-s", str(2 * PATIENCE_S)]
    with serving("--model", str(hooked), *options, SIGNS=str(tmp_path)) as server:
        replies: list[Reply] = []
        asking = threading.Thread(target=lambda: replies.append(server.post(b"wait")))
        asking.start()
        with contextlib.closing(server.connect()) as idle:
            idle.connect()  # a connection on which nothing comes holds nothing up
            wait_until((tmp_path / "begun").exists, server.process)
            server.process.send_signal(number)
            # Stopped it takes no new connection.
            wait_until(server.refuses, server.process)
            (tmp_path / "end").touch()
            said = server.end()
        asking.join()
    assert server.process.returncode == expected
    assert replies == [(200, b'"Module wait"', "application/x-mine")]
    lines = said.splitlines()
    # A connection that is made just as the server stops may be closed by its end alone, of which asyncio warns here.
    assert any("POST /invocations HTTP/1.1 200" in line for line in lines)
    assert "stopped: 1 request answered" in lines


def test_what_takes_too_long_is_given_up(hooked: Path, tmp_path: Path) -> None:
    options = ["--program", "mine", "--grace-s", "0.3"]
    with serving("--model", str(hooked), *options, SIGNS=str(tmp_path)) as server:

        def ask() -> None:
            with pytest.raises((OSError, http.client.HTTPException)):
                server.post(b"wait")  # nothing lets it end

        asking = threading.Thread(target=ask)
        asking.start()
        wait_until((tmp_path / "begun").exists, server.process)
        code, said = server.stop()
        asking.join()
    assert code == 0
    assert said.endswith("stopped: 0 requests answered, 1 left unanswered\n")


@pytest.mark.parametrize("round_", range(3))
def test_a_stop_under_load_loses_no_request(round_: int, mlp: Path, digits: np.ndarray) -> None:
    body = csv(digits[:1])
    expected = Predictor(mlp, exact=True).answer(body)[0]
    # A client that is slow to send its next request is waited for.
    patient = ["--drain-s", str(PATIENCE_S), "--grace-s", str(2 * PATIENCE_S)]
    with serving("--model", str(mlp), "--exact", *patient) as server:
        counts = {"answered": 0, "lost": 0}
        lock = threading.Lock()

        def ask_until_closed() -> None:
            """Keeps one connection busy until the server says that it is the last reply."""
            with contextlib.closing(server.connect()) as connection:
                connection.connect()
                ready.wait()
                while True:
                    try:
                        connection.request("POST", "/invocations", body, {"Content-Type": CSV})
                        response = connection.getresponse()
                        whole = response.read() == expected
                    except (OSError, http.client.HTTPException):
                        with lock:
                            counts["lost"] += 1
                        return
                    with lock:
                        counts["answered" if whole and response.status == 200 else "lost"] += 1
                    if response.getheader("Connection", "").lower() == "close":
                        return

        clients = 16
        ready = threading.Barrier(clients + 1)
        threads = [threading.Thread(target=ask_until_closed) for _ in range(clients)]
        for thread in threads:
            thread.start()
        ready.wait()
        # Stopped at moments that differ in what is under way.
        wait_until(lambda: counts["answered"] > (10 + 3 * round_) * clients, server.process)
        code, said = server.stop()
        for thread in threads:
            thread.join(timeout=PATIENCE_S)
    assert code == 0
    assert counts["lost"] == 0
    assert counts["answered"] > clients
    # The clients' count is the server's.
    assert f"stopped: {counts['answered']:,} requests answered" in said


def test_the_argument_that_sagemaker_adds_is_ignored(mlp: Path) -> None:
    with serving("--model", str(mlp), "--exact", "--quiet", "serve") as server:
        assert server.get("/ping")[:2] == (200, b"")
        assert server.stop() == (0, "")


def test_the_images_entry_point_serves_what_it_copies(hooked: Path, tmp_path: Path) -> None:
    """There may be no docker engine here: what its file says is run without one."""
    lines = (ROOT / "examples" / "serving" / "Dockerfile").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    assert copied
    assert [name for name in copied if not (ROOT / name).exists()] == []
    ignored = (ROOT / "examples" / "serving" / "Dockerfile.dockerignore").read_text().splitlines()
    assert sorted(line[1:] for line in ignored if line.startswith("!")) == sorted(copied)
    entry, command = (
        json.loads(line.partition(" ")[2]) for line in lines if line.startswith(("ENTRYPOINT [", "CMD ["))
    )
    assert entry[:3] == ["python", "-m", "fastinfer.serve"]
    assert entry[-2:] == ["--host", "0.0.0.0"]
    (tmp_path / "ml").mkdir()
    hooked.rename(tmp_path / "ml" / "model")
    environment = {"SAGEMAKER_PROGRAM": "mine.py", "SAGEMAKER_BASE_DIR": str(tmp_path / "ml")}
    # Not to all the world, in a test.
    with serving(*entry[3:-1], "127.0.0.1", *command, **environment) as server:
        assert server.post(b"x").body == b'"Module x"'
