"""The process of one local job: fetches what it needs, runs it as SageMaker does, puts the results where they belong.

``python -m fastinfer.sagemaker.local training|transform FOLDER``; client.py starts it. What is printed here is the job's log.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ...errors import FastinferError
from ..transform_job import Transform
from .job_folder import REQUEST, write_status
from .session import LocalSession
from .training import Overran, Training

REASON_CHARACTERS = 1024


def main(argv: list[str]) -> int:
    """Carries out the job of a folder; its end stands in the folder's status."""
    kind, folder = argv[0], Path(argv[1])
    request = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
    artifacts = None
    try:
        if kind == "training":
            artifacts = Training(folder, request, LocalSession()).run()
        else:
            Transform(folder, request, LocalSession()).run()
    except Overran as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        write_status(folder, status="Stopped", secondary="MaxRuntimeExceeded", reason=str(error))
        return 1
    except FastinferError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        write_status(folder, status="Failed", secondary="Failed", reason=str(error)[:REASON_CHARACTERS])
        return 1
    except BaseException as error:
        write_status(
            folder, status="Failed", secondary="Failed", reason=f"{type(error).__name__}: {error}"[:REASON_CHARACTERS]
        )
        raise
    write_status(folder, status="Completed", secondary="Completed", artifacts=artifacts)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
