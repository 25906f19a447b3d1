"""The process of one local job: ``python -m fastinfer.sagemaker.local training|transform FOLDER``.

What is printed here is the job's log; how the job ended is written to its folder's status.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ...errors import FastinferError, said
from ..transform_job import Transform
from .job_folder import JobFolder
from .session import LocalSession
from .training import MaxRunExceeded, Training

# SageMaker's limit for a FailureReason.
REASON_CHARACTERS = 1024


def main(argv: list[str]) -> int:
    """Carries out the job of a folder; returns the process's exit code."""
    kind, folder = argv[0], JobFolder(Path(argv[1]).absolute())
    request = folder.read_request()
    artifacts = None
    try:
        if kind == "training":
            artifacts = Training(folder, request, LocalSession()).run()
        else:
            Transform(folder.path, request, LocalSession()).run()
    except MaxRunExceeded as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        folder.write_status("Stopped", "MaxRuntimeExceeded", reason=str(error))
        return 1
    except FastinferError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        folder.write_status("Failed", "Failed", reason=str(error)[:REASON_CHARACTERS])
        return 1
    except BaseException as error:
        folder.write_status("Failed", "Failed", reason=f"{type(error).__name__}: {said(error)}"[:REASON_CHARACTERS])
        raise
    folder.write_status("Completed", "Completed", artifacts=artifacts)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
