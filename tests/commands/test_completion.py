"""`fastinfer completion`: scripts that a shell takes, with every command and option."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from fastinfer.commands import COMMANDS
from fastinfer.commands.completion import main
from tests.conftest import skip

COMPLETE = """
{script}
COMP_WORDS=({words})
COMP_CWORD={last}
_shtab_fastinfer
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def complete(script: str, *words: str) -> set[str]:
    """What bash offers for the last of some words."""
    bash = shutil.which("bash") or skip("there is no bash")
    quoted = " ".join(f"'{word}'" for word in words)
    text = COMPLETE.format(script=script, words=quoted, last=len(words) - 1)
    done = subprocess.run([bash, "--norc", "-c", text], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_bash_completes_commands_options_and_choices(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bash"]) == 0
    script = capsys.readouterr().out
    assert set(COMMANDS) <= complete(script, "fastinfer", "")
    assert complete(script, "fastinfer", "doc") == {"doctor"}
    assert "--on-error" in complete(script, "fastinfer", "transform", "--")
    assert complete(script, "fastinfer", "transform", "--backend", "d") == {"dask"}
    assert "--training-job" in complete(script, "fastinfer", "sagemaker", "transform", "--")


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_have_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([shell]) == 0
    script = capsys.readouterr().out
    assert [command for command in COMMANDS if command not in script] == []


def test_without_shtab_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["bash"]) == 2
    assert capsys.readouterr().err.endswith("Hint: pip install 'shtab>=1.6,<2'\n")
