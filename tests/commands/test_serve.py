"""The command that serves: its options, its messages and its exit codes. tests/serving speaks to the running server."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from fastinfer.commands.serve import (
    describe_ending,
    describe_handler,
    main,
    make_parser,
    make_settings,
    without_certificates,
)
from fastinfer.errors import ConfigError
from fastinfer.handlers.hooks import Handler, load_handler
from fastinfer.handlers.user_module import UserModule
from fastinfer.serving.http import Ending
from fastinfer.serving.settings import Settings


def settings(*options: str) -> Settings:
    return make_settings(make_parser("fastinfer serve").parse_args(options), Path("model"))


def test_settings_come_from_options_then_sagemakers_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SAGEMAKER_BIND_TO_PORT", "SAGEMAKER_MAX_PAYLOAD_IN_MB"):
        monkeypatch.delenv(name, raising=False)
    default = settings("serve")
    assert (default.port, default.payload_mb, default.host, default.exact) == (8080, 6, "127.0.0.1", False)
    assert (default.max_delay_s, default.grace_s, default.drain_s, default.batch_size) == (0.001, 8, 0.3, None)
    assert default.workers >= 1
    monkeypatch.setenv("SAGEMAKER_BIND_TO_PORT", "9000")
    monkeypatch.setenv("SAGEMAKER_MAX_PAYLOAD_IN_MB", "20")
    assert (settings().port, settings("--port", "9001").port, settings("--port", "0").port) == (9000, 9001, 0)
    assert (settings().payload_mb, settings("--max-payload-mb", "7").payload_mb) == (20, 7)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SAGEMAKER_BIND_TO_PORT", "x", "expected a port from 0 to 65535, found 'x'"),
        ("SAGEMAKER_MAX_PAYLOAD_IN_MB", "101", "expected a number of MB from 1 to 100, found '101'"),
    ],
)
def test_an_environment_that_makes_no_sense_is_named(
    name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=rf"^\${name}: {message}$") as caught:
        settings()
    assert caught.value.code == "bad_environment"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--port", "65536"], "argument --port: expected a port from 0 to 65535, found '65536'"),
        (["--max-payload-mb", "0"], "argument --max-payload-mb: expected a number of MB from 1 to 100, found '0'"),
        (["--max-delay-ms", "-1"], "argument --max-delay-ms: expected a number from 0 to 3600, found '-1'"),
        (["--grace-s", "soon"], "argument --grace-s: expected a number from 0 to 3600, found 'soon'"),
        (["--workers", "0"], "argument --workers: expected auto or a number of at least 1, found '0'"),
        (["train"], "argument serve: invalid choice: 'train'"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(options)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_a_port_in_use_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["--port", str(port)]) == 2
    assert capsys.readouterr().err.startswith(f"error: port {port} of 127.0.0.1 is already in use. Hint: ")


def test_a_host_that_does_not_exist_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--host", "no such host"]) == 2
    assert capsys.readouterr().err == "error: there is no host named 'no such host'\n"


def test_without_aiohttp_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    assert main([]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: the server requires aiohttp, which cannot be imported")
    assert said.endswith("Hint: pip install 'aiohttp>=3.9,<4'\n")


def test_help_is_instant_and_calls_the_command_as_it_was_called(capsys: pytest.CaptureFixture[str]) -> None:
    script = (
        "import sys, fastinfer.serve; print([n for n in ('numpy', 'aiohttp', 'mxnet', 'joblib') if n in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"
    called = subprocess.run([sys.executable, "-m", "fastinfer.serve", "-h"], capture_output=True, text=True, check=True)
    assert called.stdout.startswith("usage: python -m fastinfer.serve [-h]")
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("usage: fastinfer serve [-h]")


def test_the_line_at_the_start_says_what_answers(mlp: Path, tmp_path: Path) -> None:
    handler = load_handler(mlp, batch_size=16)
    assert describe_handler(handler, settings("--workers", "3")) == "batches of 16, 3 workers"
    assert describe_handler(handler, settings("--workers", "3", "--exact")) == "exact, 3 workers"
    module = UserModule(tmp_path / "x.py", tmp_path, {})
    no_hooks = Handler(module, predictor=handler.predictor)
    assert describe_handler(no_hooks, settings("--workers", "3")) == "batches of 16, 3 workers, no hooks in x.py"
    hooks = Handler(module, transform=lambda *_: b"")
    assert describe_handler(hooks, settings()) == f"hooks of {tmp_path / 'x.py'}"


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        (Ending(signal.SIGTERM, 0, 0, 0, True), "stopped: 0 requests answered"),
        (Ending(signal.SIGINT, 1234, 0, 5000, True), "stopped: 1,234 requests answered, 5,000 rows"),
        (Ending(signal.SIGTERM, 2, 1, 0, False), "stopped: 2 requests answered, 1 left unanswered"),
    ],
)
def test_the_last_line_counts(ending: Ending, expected: str) -> None:
    assert describe_ending(ending) == expected


@pytest.mark.parametrize("file", [None, "/etc/some.pem"])
def test_certificates_are_left_out_of_the_import_alone(file: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    if file is None:
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    else:
        monkeypatch.setenv("SSL_CERT_FILE", file)
    with without_certificates():
        assert ssl.create_default_context().get_ca_certs() == []
    assert (os.environ.get("SSL_CERT_FILE"), "SSL_CERT_DIR" in os.environ) == (file, False)
