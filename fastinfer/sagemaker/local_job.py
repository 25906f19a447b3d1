"""The process of one local job: fetches what it needs, runs it as SageMaker does, puts the results where they belong.

``python -m fastinfer.sagemaker.local_job training|transform FOLDER``; :mod:`fastinfer.sagemaker.local` starts it. What is
printed here is the job's log.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .._files import make_folder
from ..errors import ConfigError, FastinferError, InputError
from .local import REQUEST, LocalSession, write_status
from .packing import MODEL_ARCHIVE, SOURCE_ARCHIVE, pack_folder, unpack
from .places import join
from .s3 import fetch_below
from .session import Item

HOST = "algo-1"
REASON_CHARACTERS = 1024
LAST_LINES = 20
# Batch Transform's own, where a request says nothing.
PAYLOAD_MB = 6

ERROR_WORD = "AlgorithmError"


class ScriptFailed(FastinferError):
    """The user's script ended with another code than 0."""

    code = "script_failed"


class Training:
    """A training job in a folder laid out as /opt/ml in the container."""

    def __init__(self, folder: Path, request: dict[str, Any], session: LocalSession) -> None:
        self.folder = folder
        self.base = folder / "ml"
        self.request = request
        self.session = session
        self.hyperparameters = {name: json.loads(value) for name, value in request["HyperParameters"].items()}

    def run(self) -> str:
        """Returns where the model is."""
        write_status(self.folder, status="InProgress", secondary="Downloading")
        for name in ("input/config", "input/data", "model", "output/data", "code"):
            make_folder(self.base / name)
        channels = [channel["ChannelName"] for channel in self.request.get("InputDataConfig") or ()]
        self._write_config()
        for channel in self.request.get("InputDataConfig") or ():
            place = channel["DataSource"]["S3DataSource"]["S3Uri"]
            for item in self.session.items(place):
                fetch_below(self.session, item.place, item.name, self.base / "input" / "data" / channel["ChannelName"])
        archive = self.folder / SOURCE_ARCHIVE
        self.session.fetch(self.hyperparameters["sagemaker_submit_directory"], archive)
        unpack(archive, self.base / "code")

        write_status(self.folder, status="InProgress", secondary="Training")
        self._run_script(channels)

        write_status(self.folder, status="InProgress", secondary="Uploading")
        output = self.request["OutputDataConfig"]
        place = join(output["S3OutputPath"], self.request["TrainingJobName"], "output")
        for name, below in ((MODEL_ARCHIVE, "model"), ("output.tar.gz", "output/data")):
            if name == MODEL_ARCHIVE or any((self.base / below).iterdir()):
                pack_folder(self.base / below, self.folder / name)
                self.session.put(self.folder / name, join(place, name), kms_key=output.get("KmsKeyId"))
        return join(place, MODEL_ARCHIVE)

    def _write_config(self) -> None:
        channels = {
            channel["ChannelName"]: {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated"}
            for channel in self.request.get("InputDataConfig") or ()
        }
        resources = {"current_host": HOST, "hosts": [HOST], "network_interface_name": "lo"}
        for name, value in (
            ("hyperparameters", self.request["HyperParameters"]),
            ("inputdataconfig", channels),
            ("resourceconfig", resources),
        ):
            (self.base / "input" / "config" / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")

    def _run_script(self, channels: list[str]) -> None:
        options = {name: value for name, value in self.hyperparameters.items() if not name.startswith("sagemaker_")}
        program = self.hyperparameters["sagemaker_program"]
        command = [sys.executable, "-u", program, *_command_line(options)]
        print(f"running {' '.join(['python', *command[2:]])}", flush=True)
        process = subprocess.Popen(
            command,
            cwd=self.base / "code",
            env=self._environment(options, channels, program),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        last: deque[str] = deque(maxlen=LAST_LINES)
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            last.append(line.rstrip("\n"))
        code = process.wait()
        if code != 0:
            reason = f"{ERROR_WORD}: {program} ended with code {code}:\n" + "\n".join(last)
            (self.base / "output" / "failure").write_text(reason, encoding="utf-8")
            raise ScriptFailed(reason)
        (self.base / "output" / "success").touch()

    def _environment(self, options: dict[str, Any], channels: list[str], program: str) -> dict[str, str]:
        """The variables that the training toolkit gives to a script."""
        base = self.base
        config = {name: {"TrainingInputMode": "File"} for name in channels}
        variables = {
            "SM_MODEL_DIR": str(base / "model"),
            "SM_INPUT_DIR": str(base / "input"),
            "SM_INPUT_CONFIG_DIR": str(base / "input" / "config"),
            "SM_OUTPUT_DIR": str(base / "output"),
            "SM_OUTPUT_DATA_DIR": str(base / "output" / "data"),
            "SM_MODULE_DIR": self.hyperparameters["sagemaker_submit_directory"],
            "SM_MODULE_NAME": Path(program).stem,
            "SM_USER_ENTRY_POINT": program,
            "SM_HOSTS": json.dumps([HOST]),
            "SM_CURRENT_HOST": HOST,
            "SM_NETWORK_INTERFACE_NAME": "lo",
            "SM_NUM_GPUS": "0" if self.request["ResourceConfig"]["InstanceType"] == "local" else str(_count_gpus()),
            "SM_NUM_CPUS": str(os.cpu_count() or 1),
            "SM_LOG_LEVEL": str(self.hyperparameters.get("sagemaker_container_log_level", 20)),
            "SM_CHANNELS": json.dumps(sorted(channels)),
            "SM_INPUT_DATA_CONFIG": json.dumps(config),
            "SM_HPS": json.dumps(options),
            "SM_USER_ARGS": json.dumps(_command_line(options)),
            "TRAINING_JOB_NAME": self.request["TrainingJobName"],
        }
        variables.update({f"SM_CHANNEL_{name.upper()}": str(base / "input" / "data" / name) for name in channels})
        variables.update({f"SM_HP_{name.upper()}": str(value) for name, value in options.items()})
        code = os.pathsep.join(filter(None, [str(base / "code"), os.environ.get("PYTHONPATH")]))
        return {**os.environ, **variables, **(self.request.get("Environment") or {}), "PYTHONPATH": code}


class Transform:
    """A transform job: each object of the input is answered by the model's code, or by the engine where it has none."""

    def __init__(self, folder: Path, request: dict[str, Any], session: LocalSession) -> None:
        self.folder = folder
        self.request = request
        self.session = session
        container = request["Model"]["PrimaryContainer"]
        self.model_place = container["ModelDataUrl"]
        self.environment = {**container.get("Environment", {}), **(request.get("Environment") or {})}
        self.content_type = request["TransformInput"].get("ContentType") or "application/octet-stream"
        self.accept = request["TransformOutput"].get("Accept")
        self.splits = request["TransformInput"].get("SplitType", "None") == "Line"
        self.single = request.get("BatchStrategy") == "SingleRecord"
        self.assembles = request["TransformOutput"].get("AssembleWith", "None") == "Line"
        self.payload_bytes = request.get("MaxPayloadInMB", PAYLOAD_MB) << 20

    def run(self) -> None:
        model = self.folder / "ml" / "model"
        self.session.fetch(self.model_place, self.folder / MODEL_ARCHIVE)
        unpack(self.folder / MODEL_ARCHIVE, model)
        # Before the model's code, and MXNet with it, is imported.
        os.environ.update(self.environment)
        place = self.request["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"]
        items = list(self.session.items(place))
        if not items:
            raise InputError("there is no object", code="no_such_place", path=place)

        from ..hooks import load_handler

        handler = load_handler(model)
        plain = self.content_type == "text/csv" and self.accept in (None, "application/json")
        if not handler.has_hooks and plain and not self.splits and not self.assembles:
            items = self._run_engine(model, items)
        problems = []
        for item in items:
            try:
                body = self.session.read(item.place)
                answers = [
                    handler.answer(payload, self.content_type, self.accept)[0] for payload in self._payloads(item, body)
                ]
                # Replies are put one behind another, as they are or each on lines of its own.
                content = b"".join(answer + b"\n" for answer in answers) if self.assembles else b"".join(answers)
                self._put(item, content)
            except Exception as error:
                if isinstance(error, FastinferError) and not isinstance(error, InputError):
                    raise
                # As on AWS: no output for this object, and the others go on.
                problems.append(f"{item.place}: {_without_place(error)}")
                print(problems[-1], file=sys.stderr, flush=True)
        print(f"{len(items) - len(problems):,} of {len(items):,} objects answered one by one", flush=True)
        if problems:
            raise InputError(f"{len(problems)} objects failed; the first: {problems[0]}", code="bad_input")

    def _payloads(self, item: Item, body: bytes) -> Iterator[bytes]:
        """What of an object goes into a request each."""
        if not self.splits:
            _check_payload(len(body), self.payload_bytes, item)
            yield body
            return
        held: list[bytes] = []
        size = 0
        for line in body.splitlines(keepends=True):
            _check_payload(len(line), self.payload_bytes, item)
            if held and (self.single or size + len(line) > self.payload_bytes):
                yield b"".join(held)
                held, size = [], 0
            held.append(line)
            size += len(line)
        if held:
            yield b"".join(held)

    def _run_engine(self, model: Path, items: list[Item]) -> list[Item]:
        """Transforms all objects at once; returns those that are left, from the first that has an error on."""
        from ..engine import transform
        from ..model import load_model
        from ..options import Options

        source, output = self.folder / "in", self.folder / "out"
        for item in items:
            _check_payload(item.size, self.payload_bytes, item)
            target = source / f"{item.name}.csv"
            make_folder(target.parent)
            path = self.session.local_path(item.place)
            if path is None:
                self.session.fetch(item.place, target)
            else:
                # No copy: the engine reads what the link leads to.
                target.symlink_to(path.resolve())
        try:
            summary = transform(load_model(model), str(source), str(output), Options(exact=True))
            print(f"{summary.images:,} images, {summary.images_per_second:,.0f} images/s", flush=True)
        except InputError as error:
            print(f"the engine stopped: {error}", file=sys.stderr, flush=True)
        left = []
        for item in items:
            finished = output / f"{item.name}.csv.out"
            if finished.exists():
                self._put(item, finished)
            else:
                left.append(item)
        return left

    def _put(self, item: Item, content: bytes | Path) -> None:
        output = self.request["TransformOutput"]
        self.session.put(content, join(output["S3OutputPath"], f"{item.name}.out"), kms_key=output.get("KmsKeyId"))


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


def _command_line(options: dict[str, Any]) -> list[str]:
    """Hyperparameters as the toolkit hands them to a script: ``--name value``."""
    words: list[str] = []
    for name, value in sorted(options.items()):
        words += [f"-{name}" if len(name) == 1 else f"--{name}", value if isinstance(value, str) else _word(value)]
    return words


def _word(value: Any) -> str:
    return str(value) if isinstance(value, (bool, int, float)) or value is None else json.dumps(value)


def _check_payload(size: int, limit: int, item: Item) -> None:
    # 0 is no limit.
    if limit and size > limit:
        raise InputError(
            f"a request of {size:,} bytes is more than MaxPayloadInMB allows ({limit:,})",
            code="payload_too_large",
            path=item.place,
            hint="max_payload, or split_type='Line'",
        )


def _without_place(error: Exception) -> str:
    """An error in words; the object's own place is said before, so of its place line and column are left."""
    if isinstance(error, InputError):
        where = ":".join(str(part) for part in (error.line, error.column) if part is not None)
        return f"{where}: {error.message}" if where else error.message
    return f"{type(error).__name__}: {error}"


def _count_gpus() -> int:
    from .._mxnet import load_mxnet
    from ..devices import count_gpus

    try:
        return count_gpus(load_mxnet())
    except ConfigError:
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
