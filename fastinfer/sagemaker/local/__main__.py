"""The process of one local job: fetches what it needs, runs it as SageMaker does, puts the results where they belong.

``python -m fastinfer.sagemaker.local training|transform FOLDER``; client.py starts it. What is printed here is the job's log.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import ConfigError, FastinferError, InputError
from ...storage.archive import unpack
from ...storage.atomic import make_folder
from ...storage.uri import join
from ..code_archive import MODEL_ARCHIVE, SOURCE_ARCHIVE, pack_folder
from ..s3 import fetch_below
from ..session import Item
from .client import REQUEST, LocalSession, write_status

HOST = "algo-1"
RESOURCES: dict[str, Any] = {"current_host": HOST, "hosts": [HOST], "network_interface_name": "lo"}
# Hyperparameters that are the toolkit's own; others of the prefix are the framework's.
OWN_HYPERPARAMETERS = {
    "sagemaker_submit_directory",
    "sagemaker_program",
    "sagemaker_container_log_level",
    "sagemaker_job_name",
    "sagemaker_region",
}
REASON_CHARACTERS = 1024
LAST_LINES = 20
# Batch Transform's own, where a request says nothing.
PAYLOAD_MB = 6

ERROR_WORD = "AlgorithmError"


class ScriptFailed(FastinferError):
    """The user's script ended with another code than 0."""

    code = "script_failed"


class Overran(FastinferError):
    """A job was ended as it took too long; on AWS it counts as stopped."""


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
        self._write_config()
        for channel in self.request.get("InputDataConfig") or ():
            place = channel["DataSource"]["S3DataSource"]["S3Uri"]
            for item in self.session.items(place):
                fetch_below(self.session, item.place, item.name, self.base / "input" / "data" / channel["ChannelName"])
        archive = self.folder / SOURCE_ARCHIVE
        code = self.hyperparameters["sagemaker_submit_directory"]
        self.session.fetch(code, archive)
        unpack(archive, self.base / "code")

        write_status(self.folder, status="InProgress", secondary="Training")
        self._run_script()

        write_status(self.folder, status="InProgress", secondary="Uploading")
        output = self.request["OutputDataConfig"]
        place = join(output["S3OutputPath"], self.request["TrainingJobName"], "output")
        for name, below in ((MODEL_ARCHIVE, "model"), ("output.tar.gz", "output/data")):
            if name == MODEL_ARCHIVE or any((self.base / below).iterdir()):
                pack_folder(self.base / below, self.folder / name)
                self.session.put(self.folder / name, join(place, name), kms_key=output.get("KmsKeyId"))
        return join(place, MODEL_ARCHIVE)

    @property
    def _channels(self) -> dict[str, dict[str, str]]:
        channels = {}
        for channel in self.request.get("InputDataConfig") or ():
            source = channel["DataSource"]["S3DataSource"]
            facts = {"ContentType": channel.get("ContentType"), "TrainingInputMode": "File"}
            facts["S3DistributionType"] = source.get("S3DataDistributionType", "FullyReplicated")
            channels[channel["ChannelName"]] = {name: value for name, value in facts.items() if value is not None}
        return channels

    def _write_config(self) -> None:
        for name, value in (
            ("hyperparameters", self.request["HyperParameters"]),
            ("inputdataconfig", self._channels),
            ("resourceconfig", RESOURCES),
        ):
            (self.base / "input" / "config" / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")

    def _run_script(self) -> None:
        options = {name: value for name, value in self.hyperparameters.items() if not name.startswith("sagemaker_")}
        program = self.hyperparameters["sagemaker_program"]
        command = [sys.executable, "-u", program, *_command_line(options)]
        print(f"running {shlex.join(['python', *command[2:]])}", flush=True)
        if (self.base / "code" / "requirements.txt").exists():
            print("requirements.txt is not installed here: the script runs with what this interpreter has", flush=True)
        process = subprocess.Popen(
            command,
            cwd=self.base / "code",
            env=self._environment(options, program),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        last: deque[str] = deque(maxlen=LAST_LINES)
        limit_s = self.request["StoppingCondition"]["MaxRuntimeInSeconds"]
        overran = threading.Event()

        def end() -> None:
            overran.set()
            process.kill()

        timer = threading.Timer(limit_s, end)
        timer.daemon = True
        timer.start()
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            last.append(line.rstrip("\n"))
        code = process.wait()
        timer.cancel()
        if overran.is_set():
            raise Overran(f"the script ran for more than max_run allows, {limit_s} s", code="max_run")
        if code != 0:
            reason = f"{ERROR_WORD}: {program} ended with code {code}:\n" + "\n".join(last)
            (self.base / "output" / "failure").write_text(reason, encoding="utf-8")
            raise ScriptFailed(reason)
        (self.base / "output" / "success").touch()

    def _environment(self, options: dict[str, Any], program: str) -> dict[str, str]:
        """The variables that the training toolkit gives to a script."""
        base, level = self.base, self.hyperparameters.get("sagemaker_container_log_level", 20)
        channels = {name: str(base / "input" / "data" / name) for name in self._channels}
        others = {
            name: value
            for name, value in self.hyperparameters.items()
            if name.startswith("sagemaker_") and name not in OWN_HYPERPARAMETERS
        }
        facts: dict[str, Any] = {
            "input_dir": str(base / "input"),
            "input_config_dir": str(base / "input" / "config"),
            "input_data_config": self._channels,
            "output_dir": str(base / "output"),
            "output_data_dir": str(base / "output" / "data"),
            "output_intermediate_dir": str(base / "output" / "intermediate"),
            "model_dir": str(base / "model"),
            "module_dir": self.hyperparameters["sagemaker_submit_directory"],
            "module_name": Path(program).stem,
            "user_entry_point": program,
            "framework_module": "",
            "hosts": [HOST],
            "current_host": HOST,
            "network_interface_name": RESOURCES["network_interface_name"],
            "resource_config": RESOURCES,
            "current_instance_type": "local",
            "current_instance_group": "homogeneousCluster",
            "current_instance_group_hosts": [],
            "distribution_instance_groups": [],
            "instance_groups": [],
            "instance_groups_dict": {},
            "is_hetero": False,
            "num_cpus": os.cpu_count() or 1,
            "num_gpus": 0 if self.request["ResourceConfig"]["InstanceType"] == "local" else _count_gpus(),
            "num_neurons": 0,
            "log_level": level,
        }
        training = {
            **{name: value for name, value in facts.items() if name != "framework_module"},
            "channel_input_dirs": channels,
            "hyperparameters": options,
            "additional_framework_parameters": others,
            "job_name": self.request["TrainingJobName"],
            "is_master": True,
            "master_hostname": HOST,
        }
        facts.update(
            channels=sorted(channels),
            hps=options,
            framework_params=others,
            user_args=_command_line(options),
            training_env=training,
            **{f"channel_{name}": path for name, path in channels.items()},
            **{f"hp_{name}": value for name, value in options.items()},
        )
        variables = {f"SM_{name.upper()}": _variable(value) for name, value in facts.items()}
        variables["TRAINING_JOB_NAME"] = self.request["TrainingJobName"]
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

        from ...handlers.hooks import load_handler

        handler = load_handler(model, exact=True)
        plain = self.content_type == "text/csv" and self.accept in (None, "application/json")
        if not handler.has_hooks and plain and not self.splits and not self.assembles:
            items = self._run_engine(model, items)
        problems = []
        one_by_one = len(items)
        for item in items:
            try:
                body = self.session.read(item.place)
                answers = []
                for lines_before, payload in self._payloads(item, body):
                    try:
                        answers.append(handler.answer(payload, self.content_type, self.accept)[0])
                    except InputError as error:
                        # The place is said in the object, not in the request.
                        if error.line is not None:
                            error.line += lines_before
                        raise
                # Replies are put one behind another, as they are or each on lines of its own.
                content = b"".join(answer + b"\n" for answer in answers) if self.assembles else b"".join(answers)
                self._put(item, content)
            except Exception as error:
                if isinstance(error, FastinferError) and not isinstance(error, InputError):
                    raise
                # As on AWS: no output for this object, and the others go on.
                problems.append(f"{item.place}: {_without_place(error)}")
                print(problems[-1], file=sys.stderr, flush=True)
        if one_by_one:
            print(f"{one_by_one - len(problems):,} of {one_by_one:,} objects answered one by one", flush=True)
        if problems:
            raise InputError(f"{len(problems)} objects failed; the first: {problems[0]}", code="bad_input")

    def _payloads(self, item: Item, body: bytes) -> Iterator[tuple[int, bytes]]:
        """What of an object goes into a request each, and how many lines lie before it."""
        if not self.splits:
            _check_payload(len(body), self.payload_bytes, item)
            yield 0, body
            return
        held: list[bytes] = []
        size = sent = 0
        for line in body.splitlines(keepends=True):
            _check_payload(len(line), self.payload_bytes, item)
            if held and (self.single or size + len(line) > self.payload_bytes):
                yield sent, b"".join(held)
                sent += len(held)
                held, size = [], 0
            held.append(line)
            size += len(line)
        if held:
            yield sent, b"".join(held)

    def _run_engine(self, model: Path, items: list[Item]) -> list[Item]:
        """Transforms all objects at once; returns those that are left, from the first that has an error on."""
        from ...engine.run import transform
        from ...engine.source import find_objects
        from ...models.module import load_model
        from ...options import Options

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
            summary = transform(
                load_model(model), find_objects(str(source)), str(output), Options(exact=True), source=str(source)
            )
            print(f"{summary.records:,} records, {summary.records_per_second:,.0f} records/s", flush=True)
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


def _command_line(options: dict[str, Any]) -> list[str]:
    """Hyperparameters as the toolkit hands them to a script: ``--name value``."""
    words: list[str] = []
    for name, value in sorted(options.items()):
        words += [f"-{name}" if len(name) == 1 else f"--{name}", _word(value)]
    return words


def _word(value: Any) -> str:
    if isinstance(value, dict):
        return ",".join(f"{name}={each}" for name, each in sorted(value.items()))
    return "" if value is None else str(value)


def _variable(value: Any) -> str:
    """A value as the toolkit spells it in a variable."""
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


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
    from ...runtimes.mxnet.library import count_gpus, load_mxnet

    try:
        return count_gpus(load_mxnet())
    except ConfigError:
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
