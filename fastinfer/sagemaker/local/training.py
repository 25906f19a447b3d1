"""A training job carried out on this machine, in a folder laid out as /opt/ml in the container."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import Any

from ...errors import ConfigError, FastinferError
from ...models.code import has_requirements, requirements_note
from ...storage.archive import unpack
from ...storage.atomic import make_folder
from ...storage.uri import join
from ..code_archive import MODEL_ARCHIVE, SOURCE_ARCHIVE, pack_folder
from ..s3 import fetch_below
from ..session import Session
from .job_folder import JobFolder

HOST = "algo-1"
RESOURCES: dict[str, Any] = {"current_host": HOST, "hosts": [HOST], "network_interface_name": "lo"}
# Hyperparameters of the training toolkit itself; others with the prefix sagemaker_ are the framework's.
OWN_HYPERPARAMETERS = {
    "sagemaker_submit_directory",
    "sagemaker_program",
    "sagemaker_container_log_level",
    "sagemaker_job_name",
    "sagemaker_region",
}
# With it on its path, a Python that is newer than MXNet can import it.
SITE = Path(__file__).parent / "site"
# How many of the script's last lines a failure's reason quotes.
LAST_LINES = 20
# SageMaker's reasons of failures begin with this.
ERROR_PREFIX = "AlgorithmError"


class ScriptFailed(FastinferError):
    """The user's script exited with a code other than 0."""

    code = "script_failed"
    exit_code = 1


class MaxRunExceeded(FastinferError):
    """The script ran longer than max_run allows and was killed; as on AWS, the job counts as stopped."""

    code = "max_run"
    exit_code = 1


class Training:
    """A training job; its folder's ``ml/`` is laid out as /opt/ml in the container.

    Args:
        folder: the job's folder.
        request: the CreateTrainingJob request.
        session: the session that reads inputs and writes results.
    """

    def __init__(self, folder: JobFolder, request: dict[str, Any], session: Session) -> None:
        self.folder = folder
        self.base = folder.path / "ml"
        self.request = request
        self.session = session
        self.hyperparameters = {name: json.loads(value) for name, value in request["HyperParameters"].items()}

    def run(self) -> str:
        """Trains; returns the URI of the model.

        Raises:
            ScriptFailed: the script exited with a code other than 0.
            MaxRunExceeded: the script was killed.
            FastinferError: an input could not be read or a result not written.
        """
        self.folder.write_status("InProgress", "Downloading")
        for name in ("input/config", "input/data", "model", "output/data", "code"):
            make_folder(self.base / name)
        self._write_config()
        for channel in self.request.get("InputDataConfig") or ():
            uri = channel["DataSource"]["S3DataSource"]["S3Uri"]
            for item in self.session.list_objects(uri):
                fetch_below(self.session, item, self.base / "input" / "data" / channel["ChannelName"])
        archive = self.folder.path / SOURCE_ARCHIVE
        code = self.hyperparameters["sagemaker_submit_directory"]
        self.session.fetch(code, archive)
        unpack(archive, self.base / "code")

        self.folder.write_status("InProgress", "Training")
        self._run_script()

        self.folder.write_status("InProgress", "Uploading")
        output = self.request["OutputDataConfig"]
        results = join(output["S3OutputPath"], self.request["TrainingJobName"], "output")
        for name, below in ((MODEL_ARCHIVE, "model"), ("output.tar.gz", "output/data")):
            if name == MODEL_ARCHIVE or any((self.base / below).iterdir()):
                pack_folder(self.base / below, self.folder.path / name)
                self.session.put(self.folder.path / name, join(results, name), kms_key=output.get("KmsKeyId"))
        return join(results, MODEL_ARCHIVE)

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
        if has_requirements(self.base):
            print(f"note: {requirements_note(self.base)}", flush=True)
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
        exceeded = threading.Event()

        def end() -> None:
            exceeded.set()
            process.kill()

        timer = threading.Timer(limit_s, end)
        timer.daemon = True
        timer.start()
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                print(line, end="", flush=True)
                last.append(line.rstrip("\n"))
        code = process.wait()
        timer.cancel()
        if exceeded.is_set():
            raise MaxRunExceeded(f"the script ran longer than max_run allows, {limit_s} s")
        if code != 0:
            reason = f"{ERROR_PREFIX}: {program} exited with code {code}:\n" + "\n".join(last)
            (self.base / "output" / "failure").write_text(reason, encoding="utf-8")
            raise ScriptFailed(reason)
        (self.base / "output" / "success").touch()

    def _environment(self, options: dict[str, Any], program: str) -> dict[str, str]:
        """The environment variables that the training toolkit sets for a script."""
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
        path = os.pathsep.join(filter(None, [str(base / "code"), str(SITE), os.environ.get("PYTHONPATH")]))
        return {**os.environ, **variables, **(self.request.get("Environment") or {}), "PYTHONPATH": path}


def _command_line(options: dict[str, Any]) -> list[str]:
    """Hyperparameters as the toolkit passes them to a script: ``--name value``."""
    words: list[str] = []
    for name, value in sorted(options.items()):
        words += [f"-{name}" if len(name) == 1 else f"--{name}", _word(value)]
    return words


def _word(value: Any) -> str:
    if isinstance(value, dict):
        return ",".join(f"{name}={each}" for name, each in sorted(value.items()))
    return "" if value is None else str(value)


def _variable(value: Any) -> str:
    """A value as the toolkit writes it into an environment variable."""
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _count_gpus() -> int:
    from ...runtimes.mxnet.libmxnet import count_gpus

    try:
        return count_gpus()
    except ConfigError:
        return 0
