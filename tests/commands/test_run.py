"""What all commands share: exit codes, the error line, Ctrl-C and a reader of stdout that goes away."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest

from fastinfer.commands import _run
from fastinfer.commands._run import run_command
from fastinfer.errors import (
    ConfigError,
    FastinferError,
    InputError,
    ModelError,
    OutputError,
    ServiceError,
    WorkerDied,
)

CODES = [(InputError, 1), (ConfigError, 2), (ModelError, 3), (OutputError, 4), (WorkerDied, 5), (ServiceError, 6)]


@pytest.mark.parametrize(("kind", "code"), CODES)
def test_an_error_becomes_one_line_on_stderr_and_its_exit_code(
    kind: type[FastinferError], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(_argv: Sequence[str] | None) -> None:
        raise kind("it is wrong", path="some/file", line=3, hint="mend it")

    assert run_command(command) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "error: some/file:3: it is wrong. Hint: mend it\n"


def test_arguments_and_exit_code_are_handed_through() -> None:
    assert run_command(lambda argv: len(argv or ()), ["a", "b", "c"]) == 3
    assert run_command(lambda _argv: None) == 0


@pytest.mark.parametrize("given", ["0", "", None])
def test_a_defect_is_one_line_without_a_traceback(
    given: str | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FASTINFER_TRACEBACK", raising=False)
    if given is not None:
        monkeypatch.setenv("FASTINFER_TRACEBACK", given)

    def command(_argv: Sequence[str] | None) -> None:
        raise KeyError("defect")

    assert run_command(command) == 70
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "error: internal error, a defect of fastinfer: KeyError: 'defect'. "
        "Hint: FASTINFER_TRACEBACK=1 shows the traceback to report\n"
    )


def test_the_traceback_of_a_defect_can_be_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTINFER_TRACEBACK", "1")

    def command(_argv: Sequence[str] | None) -> None:
        raise FileNotFoundError(2, "No such file", "lost.txt")

    assert run_command(command) == 70
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert "test_run.py" in "".join(lines)
    assert lines[-1].startswith(
        "error: internal error, a defect of fastinfer: FileNotFoundError: [Errno 2] No such file"
    )


def test_a_command_gives_the_hint_in_terms_of_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    def command(argv: Sequence[str] | None) -> None:
        raise ConfigError("it is wrong", code="bad_device" if argv else "no_such_device", hint="the library's words")

    def hint(error: FastinferError) -> str | None:
        return "--device cpu" if error.code == "no_such_device" else None

    assert run_command(command, [], hint=hint) == 2
    assert run_command(command, ["x"], hint=hint) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: it is wrong. Hint: --device cpu",
        "error: it is wrong. Hint: the library's words",
    ]


def test_a_warning_is_one_line_and_has_its_place_if_it_is_not_ours(capsys: pytest.CaptureFixture[str]) -> None:
    def command(_argv: Sequence[str] | None) -> None:
        warnings.simplefilter("always")
        warnings.warn_explicit("it is odd", RuntimeWarning, _run.__file__, 1)
        warnings.warn_explicit("it is old", UserWarning, "/some/hook.py", 7)

    shown = warnings.showwarning
    assert run_command(command) == 0
    assert warnings.showwarning is shown
    assert capsys.readouterr().err == "warning: it is odd\n/some/hook.py:7: UserWarning: it is old\n"


def test_options_are_spelled_as_they_are_typed() -> None:
    assert _run.as_option("max_errors") == "--max-errors"
    assert _run.as_option("backend", "dask", "ray") == "--backend dask or ray"


def run_script(body: str, stdout: int | None = subprocess.PIPE) -> subprocess.CompletedProcess[bytes]:
    script = "import sys\nfrom fastinfer.commands._run import run_command\n" + textwrap.dedent(body)
    root = str(Path(__file__).resolve().parent.parent.parent)
    return subprocess.run(
        [sys.executable, "-c", script], stdout=stdout, stderr=subprocess.PIPE, cwd=root, timeout=200, check=False
    )


def test_ctrl_c_is_130_and_one_word() -> None:
    done = run_script(
        """
        import os, signal, time
        def command(argv):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(30)
        sys.exit(run_command(command))
        """
    )
    assert (done.returncode, done.stderr) == (130, b"interrupted\n")


def test_ctrl_c_does_not_wait_for_requests_to_s3_but_for_what_is_to_be_done_at_the_end() -> None:
    done = run_script(
        """
        import atexit, os, signal, time
        from fastinfer.storage.crew import the_crew
        def command(argv):
            atexit.register(print, "the end", flush=True)
            the_crew().add(time.sleep, [250])
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(30)
        sys.exit(run_command(command))
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, b"the end\n", b"interrupted\n")


def test_a_reader_that_goes_away_is_141_without_a_word() -> None:
    script = """
        import os
        reader, writer = os.pipe()
        os.dup2(writer, 1)
        os.close(reader)
        sys.exit(run_command(lambda argv: print("lost")))
        """
    done = run_script(script)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_full_disk_behind_stdout_is_a_clear_error() -> None:
    with open("/dev/full", "wb") as full:
        done = run_script("sys.exit(run_command(lambda argv: print('lost')))", stdout=full.fileno())
    assert done.returncode == 4
    assert done.stderr == b"error: standard output cannot be written: No space left on device\n"


@pytest.mark.parametrize("module", ["fastinfer.handlers.user_module", "json"])
def test_only_a_process_without_a_users_code_leaves_its_cycles_to_the_system(module: str) -> None:
    done = run_script(
        f"""
        def command(argv):
            import {module}
            class Connection:
                def __del__(self): print("closed")
            connection = Connection()
            connection.itself = connection
        sys.exit(run_command(command))
        """
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == (b"" if module == "json" else b"closed\n")
