"""Objects at other URLs, by fsspec: listed, read and fetched; what is wrong with them is named, and none is half read."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fastinfer import transform
from fastinfer.engine.source import Listing
from fastinfer.errors import ConfigError, FastinferError, InputError, ServiceError
from fastinfer.records.reading import SMALL_OBJECT_BYTES
from fastinfer.storage import filesystem
from fastinfer.storage.base import Object
from fastinfer.storage.filesystem import FilesystemSource
from fastinfer.storage.filesystem_requests import CONNECTIONS
from fastinfer.storage.places import fetched, read_small, source_of
from tests import networks

STORE = FilesystemSource()
FILES = {"in/a.csv": b"1,2\n", "in/b/c d%.csv": b"3,4\n", "in/.hidden": b"x", "in/_SUCCESS": b"", "inner.csv": b"5\n"}


@pytest.fixture
def memory() -> Iterator[str]:
    """The URL of a folder in memory, with FILES."""
    files = fsspec.filesystem("memory")
    for name, content in FILES.items():
        files.pipe(f"/place/{name}", content)
    yield "memory://place"
    files.rm("/place", recursive=True)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The URL of a server of the files of a folder."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_folder_is_its_objects_in_the_order_of_their_keys(memory: str) -> None:
    listing = Listing(f"{memory}/in")
    assert [(item.key, item.size) for item in listing] == [("a.csv", 4), ("b/c d%.csv", 4)]
    assert listing.passed_over == 2
    (item,) = Listing(f"{memory}/in/_SUCCESS")
    assert item.key == "_SUCCESS"
    with pytest.raises(InputError) as caught:
        list(Listing(f"{memory}/nothing"))
    assert caught.value.code == "input_missing"


def test_objects_are_read_whole_and_by_ranges(memory: str) -> None:
    large = bytes(range(256)) * 100
    fsspec.filesystem("memory").pipe("/place/large", large)
    (item,) = STORE.list_objects(f"{memory}/large")
    with STORE.open(item) as reader:
        piece = bytearray(1000)
        assert reader.read_into(memoryview(piece), 24_900) == 700
        assert bytes(piece[:700]) == large[24_900:]
        assert reader.read_into(memoryview(piece), 25_600) == 0
        reader.check_unchanged()
    items = list(STORE.list_objects(f"{memory}/in"))
    buffer = bytearray(100)
    with STORE.read_ahead(items) as group:
        bounds = group.read_many(items, buffer)
    assert [error for _, error in bounds] == [0] * len(items)
    assert bytes(buffer[: bounds[-1][0]]) == b"".join(FILES[f"in/{item.key}"] for item in items)


def test_an_object_that_is_expected_is_read_as_a_whole_ahead(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.filesystem("memory").pipe("/place/x", bytes(range(256)) * 10)
    (item,) = STORE.list_objects(f"{memory}/x")
    asked = []
    read = filesystem.read
    monkeypatch.setattr(filesystem, "read", lambda *which: asked.append(which[1:]) or read(*which))
    with STORE.open(item) as reader:
        reader.expect([(0, 2000), (2000, 560)])
        piece = bytearray(2000)
        for offset in (0, 2000, 17):
            count = reader.read_into(memoryview(piece), offset)
            assert piece[:count] == (bytes(range(256)) * 10)[offset : offset + 2000]
        reader.check_unchanged()
    assert asked == [(0, 2560)]
    with STORE.open(item) as reader:
        reader.expect([(512, 100), (2000, 560)])  # spans of it
        assert reader.read_into(memoryview(piece)[:100], 512) == 100
    assert asked[1:] == [(512, 100)]
    fsspec.filesystem("memory").pipe("/place/x", b"1" * 2560 + b"2")
    with STORE.open(item) as reader:
        reader.expect([(0, 2560)])
        with pytest.raises(InputError) as caught:
            reader.read_into(memoryview(piece), 0)
    assert caught.value.code == "input_changed"


def test_a_thread_that_reads_an_object_waits_for_no_other(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads of the crew read journals of labels: if all waited for one more, none would go on."""

    def refuse() -> None:
        raise AssertionError

    monkeypatch.setattr("fastinfer.storage.crew.the_crew", refuse)
    assert b"".join(STORE.read_pieces(f"{memory}/in/a.csv")) == FILES["in/a.csv"]


def test_an_object_that_changes_is_named(memory: str) -> None:
    (item,) = STORE.list_objects(f"{memory}/in/a.csv")
    fsspec.filesystem("memory").pipe("/place/in/a.csv", b"1,2,3\n")
    with STORE.open(item) as reader, pytest.raises(InputError) as caught:
        reader.check_unchanged()
    assert caught.value.code == "input_changed"
    fsspec.filesystem("memory").pipe("/place/in/a.csv", b"1\n")
    with STORE.open(item) as reader, pytest.raises(InputError) as caught:
        reader.read_into(memoryview(bytearray(4)), 0)
    assert caught.value.code == "input_changed"
    fsspec.filesystem("memory").rm("/place/in/a.csv")
    with STORE.open(item) as reader, pytest.raises(InputError) as caught:
        reader.read_into(memoryview(bytearray(4)), 0)
    assert caught.value.code == "input_missing"


def test_small_objects_and_folders_are_fetched(memory: str, web: str, tmp_path: Path) -> None:
    assert read_small(f"{memory}/in/a.csv", 10) == b"1,2\n"
    with pytest.raises(InputError, match="more than 3 bytes"):
        read_small(f"{memory}/in/a.csv", 3)
    with pytest.raises(InputError, match="cannot be read"):
        read_small(f"{memory}/in/nothing", 3)
    with fetched(f"{memory}/in") as folder:
        assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
            name[3:] for name in FILES if name.startswith("in/")
        }
    (tmp_path / "model.tar.gz").write_bytes(b"archive")
    with fetched(f"{web}/model.tar.gz") as path:
        assert (path.name, path.read_bytes()) == ("model.tar.gz", b"archive")


def test_a_server_that_knows_no_ranges_gives_the_right_bytes(web: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"0123456789")
    (item,) = STORE.list_objects(f"{web}/x.csv")
    with STORE.open(item) as reader:
        piece = bytearray(3)
        assert reader.read_into(memoryview(piece), 4) == 3  # this server answers with all of it
    assert piece == b"456"


@pytest.mark.parametrize(
    ("uri", "kind"),
    [("nosuch://x/y", ConfigError), ("http://127.0.0.1:1/x", ServiceError), ("gs://bucket/x", ConfigError)],
)
def test_what_cannot_be_reached_is_an_error_in_one_line(uri: str, kind: type[FastinferError]) -> None:
    with pytest.raises(kind) as caught:
        list(source_of(uri).list_objects(uri, lambda _: True, lambda _: True))
    assert "\n" not in caught.value.message


def test_a_problem_of_a_listed_object_is_kept_with_it(memory: str) -> None:
    found = list(STORE.examine([f"{memory}/in/a.csv", f"{memory}/nothing"], ["a", "b"]))
    assert [(item.key, item.size, item.problem is None) for item in found] == [("a", 4, True), ("b", 0, False)]
    assert found[0] == Object(f"{memory}/in/a.csv", "a", 4, found[0].version)


@pytest.mark.parametrize(
    ("error", "code"), [(PermissionError("403"), "cannot_read"), (RuntimeError("503"), "url_failed")]
)
def test_what_is_refused_is_not_called_missing(
    error: Exception, code: str, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    place = f"{memory}/in"
    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "info", refuse)
        patch.setattr(MemoryFileSystem, "ls", refuse)
        _all_fail(place, code)


def _all_fail(place: str, code: str) -> None:
    for ask in (
        lambda: list(STORE.list_objects(place)),
        lambda: STORE.exists(place),
        lambda: list(STORE.names(place)),
        lambda: list(STORE.walk(place)),
        lambda: fetched(place).__enter__(),
    ):
        with pytest.raises((InputError, ServiceError)) as caught:
            ask()
        assert caught.value.code == code


def test_a_folder_that_is_refused_is_not_passed_over(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = MemoryFileSystem.ls

    def ls(files: MemoryFileSystem, path: str, **options: object) -> object:
        if path.endswith("/b"):
            raise PermissionError(path)
        return listed(files, path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "ls", ls)
        with pytest.raises(InputError, match="in/b: cannot be read"):
            list(STORE.list_objects(f"{memory}/in"))
    assert [item.key for item in STORE.list_objects(f"{memory}/in", enter=lambda _: False)] == [
        *(".hidden", "_SUCCESS", "a.csv")
    ]


@pytest.mark.parametrize("by_listing", [False, True])
def test_sizes_that_no_listing_tells_are_looked_up_several_at_a_time(
    memory: str, by_listing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, count = fsspec.filesystem("memory"), 100
    for number in range(count):
        files.pipe(f"/place/many/{number:03}", b"x" * number)
    under_way: list[str] = []
    together = threading.Event()
    info, ls = MemoryFileSystem.info, MemoryFileSystem.ls

    def late(self: MemoryFileSystem, path: str, **options: object) -> object:
        if "/many/" in path:
            under_way.append(path)
            if len(under_way) == CONNECTIONS:  # of a package that is not asynchronous inside
                together.set()
            assert together.wait(60)
        return info(self, path, **options)

    def sizeless(self: MemoryFileSystem, path: str, detail: bool = True, **options: object) -> object:
        return [{**entry, "size": None} for entry in ls(self, path, detail=detail, **options)]

    uris = [f"{memory}/many/{number:03}" for number in range(count)]
    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "info", late)
        patch.setattr(MemoryFileSystem, "ls", sizeless)
        found = list(STORE.list_objects(f"{memory}/many/") if by_listing else STORE.examine(uris, uris))
    assert [(item.uri, item.size) for item in found] == [(uri, number) for number, uri in enumerate(uris)]


def test_an_object_of_unknown_size_is_named_beside_the_others(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def info(_: MemoryFileSystem, path: str, **__: object) -> dict[str, object]:
        return {"name": path, "type": "file", "size": None if path.endswith("a.csv") else 4}

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "info", info)
        found = list(STORE.examine([f"{memory}/in/a.csv", f"{memory}/in/b/c d%.csv"], ["a", "b"]))
    assert [item.problem is None for item in found] == [False, True]


def test_a_glob_is_said_not_to_work(memory: str) -> None:
    with pytest.raises(InputError) as caught:
        list(STORE.list_objects(f"{memory}/in/*.csv"))
    assert (caught.value.code, caught.value.hint) == ("input_missing", "a glob works for files and S3 only")


def test_a_run_reads_its_inputs_and_its_model_from_there(memory: str, web: str, tmp_path: Path) -> None:
    model = networks.save(networks.mlp, tmp_path / "model")
    row = b",".join([b"7"] * 784) + b"\n"
    (tmp_path / "in").mkdir()
    for name in ("1.csv", "2.csv"):
        (tmp_path / "in" / name).write_bytes(row)
        fsspec.filesystem("memory").pipe(f"/place/rows/{name}", row)
    for path in model.iterdir():
        fsspec.filesystem("memory").pipe(f"/place/model/{path.name}", path.read_bytes())
    transform(str(tmp_path / "in"), str(tmp_path / "out"), model=str(model))
    expected = (tmp_path / "out" / "1.csv.out").read_bytes()
    # This server does not say when a file was changed: what nobody can compare is computed again.
    for source, skipped in ((f"{memory}/rows", 2), (f"{web}/in/", 0)):
        output = tmp_path / f"skips {skipped}"
        assert transform(source, str(output), model=f"{memory}/model").records == 2
        assert transform(source, str(output), model=f"{memory}/model").skipped == skipped
        assert [(output / f"{name}.out").read_bytes() for name in ("1.csv", "2.csv")] == [expected, expected]


@pytest.mark.parametrize("accept", ["application/json", "application/x-npy"], ids=["rows", "payloads"])
def test_a_worker_reads_objects_ahead_that_are_too_large_for_groups_or_no_rows(
    accept: str, memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = networks.save(networks.linear, tmp_path / "model")
    content = b"1,2\n" * (SMALL_OBJECT_BYTES // 4 + 1)
    for number in range(6):
        fsspec.filesystem("memory").pipe(f"/place/many/{number}.csv", content)
    meeting = threading.Barrier(3, timeout=30)  # nobody goes on before three are being read
    read = filesystem.read
    monkeypatch.setattr(filesystem, "read", lambda *which: meeting.wait() >= 0 and read(*which))
    summary = transform(f"{memory}/many", str(tmp_path / "out"), model=str(model), accept=accept, workers=1)
    assert (summary.inputs, summary.records) == (6, 6 * (SMALL_OBJECT_BYTES // 4 + 1))


def test_an_object_that_is_longer_than_a_payload_is_read_once(
    memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = networks.save(networks.linear, tmp_path / "model")
    sizes = {"a": 100_000, "b": 1_200_000, "c": 100_000}  # b goes by payloads
    for name, size in sizes.items():
        fsspec.filesystem("memory").pipe(f"/place/limit/{name}.csv", b"1,2\n" * (size // 4))
    asked = []
    read = filesystem.read
    monkeypatch.setattr(filesystem, "read", lambda *which: asked.append(which[0].key) or read(*which))
    summary = transform(
        f"{memory}/limit", str(tmp_path / "out"), model=str(model), workers=1, max_payload=1, split_type="Line"
    )
    assert summary.records == sum(sizes.values()) // 4
    assert sorted(asked) == [f"{name}.csv" for name in sizes]
