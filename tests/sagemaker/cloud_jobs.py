"""Jobs that really run: a training job in SageMaker's training toolkit, a transform job in its serving toolkit.

A job is a thread that lays out a folder as the service does, starts the container's software there as a process, and moves
bytes between the folder, S3 and CloudWatch. In a container the folder is /opt/ml; here it has another name, which the toolkits
get as a setting. Paths in a user's script are not changed.
"""

from __future__ import annotations

import abc
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.sagemaker.environment import container_environment
from tests.sagemaker.training import lay_out, train_command

CONTAINER_ROOT = "/opt/ml/"
TRANSFORM_SCRIPT = Path(__file__).with_name("cloud_transform.py")
# What the serving container sets where the user has not.
SERVING_VARIABLES = {
    "MXNET_CPU_WORKER_NTHREADS": "1",
    "MXNET_CPU_PRIORITY_NTHREADS": "1",
    "MXNET_KVSTORE_REDUCTION_NTHREADS": "1",
    "OMP_NUM_THREADS": "1",
}
REASON_CHARACTERS = 1024
DEFAULT_PAYLOAD_MB = 6
# Hosts have to be found by name; these two are on every machine.
HOSTS = ("localhost", "127.0.0.1")
LOOK_SECONDS = 0.1
SYNC_SECONDS = 0.5
GRACE_SECONDS = 10


class Services(NamedTuple):
    """What a job needs of the cloud."""

    s3: Any
    logs: Any
    python: Path
    folder: Path
    variables: dict[str, str]


class Failed(Exception):
    """The job fails; the message is its FailureReason."""


class Stopped(Exception):
    """The job was stopped; the message is its last secondary status."""


class Interrupted(Exception):
    """AWS took the spot instance back."""


def split_uri(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.partition("://")[2].partition("/")
    return bucket, key


def join_uri(*parts: str) -> str:
    return "/".join([parts[0].rstrip("/"), *(part.strip("/") for part in parts[1:])])


def keys_of(s3: Any, kind: str, uri: str) -> list[tuple[str, str]]:
    """The objects of a data source, as (bucket and key, name below the source)."""
    bucket, prefix = split_uri(uri)
    if kind == "ManifestFile":
        first, *rest = json.loads(s3.get_object(Bucket=bucket, Key=prefix)["Body"].read())
        bucket, prefix = split_uri(first["prefix"])
        return [(f"{bucket}/{prefix}{name}", name) for name in rest]
    found = []
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", ()):
            key = item["Key"]
            if key.endswith("/"):
                continue  # what consoles make to show an empty folder
            whole = not prefix or prefix.endswith("/") or key[len(prefix) :].startswith("/")
            name = key[len(prefix) :].lstrip("/") if whole else key[prefix.rfind("/") + 1 :]
            found.append((f"{bucket}/{key}", name))
    return found


class Job(abc.ABC):
    """One job and what the service says of it."""

    kind = ""
    group = ""

    def __init__(
        self, services: Services, name: str, arn: str, request: dict[str, Any], pretended_model: str | None
    ) -> None:
        self.services = services
        # The place of an archive: the job only pretends to run, and a training's model is that one.
        self.pretended_model = pretended_model
        self.name = name
        self.request = request
        self.folder = services.folder / self.kind / name
        self.created = time.time()
        self.status = "InProgress"
        self.reason: str | None = None
        self.arn = arn
        self.stop_asked = threading.Event()
        self.interrupt_asked = threading.Event()
        self.lock = threading.Lock()
        self._printed: list[tuple[str, str]] = []
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def stop(self) -> None:
        with self.lock:
            self.status = "Stopping"
        self.stop_asked.set()

    # Below: what the thread does.

    def _run(self) -> None:
        try:
            self._work()
            self._end("Completed")
        except Stopped as stopped:
            self._end("Stopped", secondary=str(stopped))
        except Failed as failed:
            self._end("Failed", str(failed)[:REASON_CHARACTERS])
        except Exception as error:
            # A defect of this cloud: the program that waits for the job must see it.
            self._end("Failed", f"InternalServerError: {type(error).__name__}: {error}"[:REASON_CHARACTERS])
            raise

    @abc.abstractmethod
    def _work(self) -> None: ...

    @abc.abstractmethod
    def _end(self, status: str, reason: str | None = None, secondary: str | None = None) -> None: ...

    def _check(self) -> None:
        if self.stop_asked.is_set():
            raise Stopped("Stopped")

    def _execute(
        self, processes: Sequence[tuple[Sequence[str], dict[str, str], Path, str]], every: Any, limit: float
    ) -> int:
        """Runs the processes of all hosts to their end, their output going to log streams; the worst exit code."""
        running: list[subprocess.Popen[str]] = []
        pumps = []
        try:
            for command, variables, folder, stream in processes:
                process = subprocess.Popen(
                    command,
                    env=variables,
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="replace",
                    start_new_session=True,
                )
                running.append(process)
                pumps.append(threading.Thread(target=self._pump, args=(process, stream), daemon=True))
                pumps[-1].start()
            deadline, next_sync = time.monotonic() + limit, time.monotonic() + SYNC_SECONDS
            while any(process.poll() is None for process in running):
                time.sleep(LOOK_SECONDS)
                if self.stop_asked.is_set():
                    self._terminate(running)
                    raise Stopped("Stopped")
                if self.interrupt_asked.is_set():
                    self.interrupt_asked.clear()
                    self._terminate(running)
                    raise Interrupted
                if time.monotonic() > deadline:
                    self._terminate(running)
                    raise Stopped("MaxRuntimeExceeded")
                if time.monotonic() > next_sync:
                    self._flush()
                    every()
                    next_sync = time.monotonic() + SYNC_SECONDS
            return max(abs(process.returncode) for process in running)
        finally:
            self._terminate(running, signal.SIGKILL)
            for pump in pumps:
                pump.join()
            self._flush()
            every()

    def _terminate(self, running: Sequence[subprocess.Popen[str]], number: int = signal.SIGTERM) -> None:
        # The group: the toolkits start the user's script as a process of its own.
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        deadline = time.monotonic() + GRACE_SECONDS
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _pump(self, process: subprocess.Popen[str], stream: str) -> None:
        assert process.stdout is not None
        with process.stdout as output:
            for line in output:
                with self.lock:
                    self._printed.append((stream, line.rstrip("\n")))

    def _flush(self) -> None:
        """Sends on what the processes have printed since the last call."""
        with self.lock:
            printed, self._printed = self._printed, []
        for stream, lines in itertools.groupby(printed, key=lambda item: item[0]):
            self._log(stream, [line for _, line in lines])

    def _log(self, stream: str, lines: Sequence[str]) -> None:
        # CloudWatch takes no empty messages.
        now = int(time.time() * 1000)
        events = [{"timestamp": now, "message": line} for line in lines if line]
        logs, group = self.services.logs, self.group
        if not events:
            return
        for make, place in ((logs.create_log_group, {}), (logs.create_log_stream, {"logStreamName": stream})):
            with contextlib.suppress(logs.exceptions.ResourceAlreadyExistsException):
                make(logGroupName=group, **place)
        logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)

    def _fetch(self, place: str, target: Path) -> None:
        bucket, _, key = place.partition("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        self.services.s3.download_file(bucket, key, str(target))

    def _put(self, source: Path, uri: str) -> None:
        bucket, key = split_uri(uri)
        try:
            self.services.s3.upload_file(str(source), bucket, key)
        except Exception as error:
            raise Failed(f"ClientError: Artifact upload failed: {error}") from error


class TrainingJob(Job):
    """CreateTrainingJob: the code and channels fetched, `train` run, the model put to S3."""

    kind = "training-job"
    group = "/aws/sagemaker/TrainingJobs"

    def __init__(
        self, services: Services, name: str, arn: str, request: dict[str, Any], pretended_model: str | None
    ) -> None:
        super().__init__(services, name, arn, request, pretended_model)
        self.secondary = "Starting"
        self.transitions = [
            {"Status": "Starting", "StartTime": self.created, "StatusMessage": "Starting the training job"}
        ]
        self.modified = self.created
        self.training_started: float | None = None
        self.training_ended: float | None = None
        self.artifact: str | None = None
        self._synced: dict[Path, tuple[int, int]] = {}

    def describe(self) -> dict[str, Any]:
        with self.lock:
            facts = {name: value for name, value in self.request.items() if name not in ("Tags", "ExperimentConfig")}
            output = {"KmsKeyId": "", "CompressionType": "GZIP", **self.request["OutputDataConfig"]}
            facts.update(
                TrainingJobArn=self.arn,
                TrainingJobStatus=self.status,
                SecondaryStatus=self.secondary,
                OutputDataConfig=output,
                CreationTime=self.created,
                LastModifiedTime=self.modified,
                SecondaryStatusTransitions=[dict(transition) for transition in self.transitions],
                EnableNetworkIsolation=self.request.get("EnableNetworkIsolation", False),
                EnableManagedSpotTraining=self.request.get("EnableManagedSpotTraining", False),
                EnableInterContainerTrafficEncryption=self.request.get("EnableInterContainerTrafficEncryption", False),
            )
            if self.artifact:
                facts["ModelArtifacts"] = {"S3ModelArtifacts": self.artifact}
            if self.reason:
                facts["FailureReason"] = self.reason
            if self.training_started:
                facts["TrainingStartTime"] = self.training_started
            if self.training_ended:
                seconds = max(1, round(self.training_ended - (self.training_started or self.created)))
                facts.update(
                    TrainingEndTime=self.training_ended, TrainingTimeInSeconds=seconds, BillableTimeInSeconds=seconds
                )
            return facts

    def _move(self, secondary: str, message: str) -> None:
        with self.lock:
            self._moved(secondary, message)

    def _moved(self, secondary: str, message: str) -> None:
        now = time.time()
        self.secondary, self.modified = secondary, now
        self.transitions[-1]["EndTime"] = now
        self.transitions.append({"Status": secondary, "StartTime": now, "StatusMessage": message})

    def _end(self, status: str, reason: str | None = None, secondary: str | None = None) -> None:
        with self.lock:
            self._moved(secondary or status, f"Training job {status.lower()}")
            self.transitions[-1]["EndTime"] = self.training_ended = self.modified
            self.status, self.reason = status, reason

    def _work(self) -> None:
        if self.pretended_model:
            bucket, key = split_uri(self.pretended_model)
            place = join_uri(self.request["OutputDataConfig"]["S3OutputPath"], self.name, "output", "model.tar.gz")
            target, name = split_uri(place)
            self.services.s3.copy_object(Bucket=target, Key=name, CopySource={"Bucket": bucket, "Key": key})
            self.artifact = place
            return
        attempt = 0
        while True:
            try:
                self._train(self.folder / f"attempt-{attempt}")
                return
            except Interrupted:
                attempt += 1
                self._move("Interrupted", "The spot instance was taken back")
                self._move("Starting", "Starting the training job again")

    def _train(self, folder: Path) -> None:
        self._move("Downloading", "Downloading input data")
        self.training_started = self.training_started or time.time()
        count = self.request["ResourceConfig"]["InstanceCount"]
        hosts = HOSTS[:count]
        # One host after the other would do as well: they share the machine.
        bases = [self._lay_out(folder / f"algo-{number}" / "ml", hosts, number - 1) for number in range(1, count + 1)]
        checkpoints = self._checkpoint_folder(bases[0])
        self._check()
        self._move("Training", "Training image download completed. Training in progress.")
        variables = {
            **self.services.variables,
            **self.request.get("Environment", {}),
            "TRAINING_JOB_NAME": self.name,
            "TRAINING_JOB_ARN": self.arn,
        }
        processes = []
        for number, base in enumerate(bases, start=1):
            command, environment = train_command(self.services.python, base, variables)
            processes.append((command, environment, base, f"{self.name}/algo-{number}-{int(self.created)}"))
        limit = self.request["StoppingCondition"].get("MaxRuntimeInSeconds", 24 * 3600)
        try:
            code = self._execute(processes, lambda: self._save_checkpoints(checkpoints), limit)
        except Stopped:
            # What the script has saved by then is kept.
            self._upload(bases)
            raise
        if code:
            raise Failed(self._why(bases, code))
        self._move("Uploading", "Uploading generated training model")
        self._upload(bases)

    def _lay_out(self, base: Path, hosts: Sequence[str], index: int) -> Path:
        channels = {}
        for channel in self.request.get("InputDataConfig", ()):
            source = channel["DataSource"]["S3DataSource"]
            folder = channels[channel["ChannelName"]] = base.parent / "channels" / channel["ChannelName"]
            found = keys_of(self.services.s3, source["S3DataType"], source["S3Uri"])
            if source.get("S3DataDistributionType") == "ShardedByS3Key":
                found = found[index :: len(hosts)]
            folder.mkdir(parents=True)
            for place, name in found:
                self._fetch(place, folder / name)
                self._check()
        (base / "output" / "data").mkdir(parents=True)
        return lay_out(base, None, channels, self.request.get("HyperParameters", {}), hosts=hosts, host=hosts[index])

    def _why(self, bases: Sequence[Path], code: int) -> str:
        for base in bases:
            with contextlib.suppress(FileNotFoundError):
                return f"AlgorithmError: {(base / 'output' / 'failure').read_text()}, exit code: {code}"
        return f"AlgorithmError: , exit code: {code}"

    def _upload(self, bases: Sequence[Path]) -> None:
        place = join_uri(self.request["OutputDataConfig"]["S3OutputPath"], self.name, "output")
        # The archive is there also where the script saved nothing.
        self._put(_archive(bases, "model"), join_uri(place, "model.tar.gz"))
        if any((base / "output" / "data").is_dir() and any((base / "output" / "data").iterdir()) for base in bases):
            self._put(_archive(bases, "output/data"), join_uri(place, "output.tar.gz"))
        with self.lock:
            self.artifact = join_uri(place, "model.tar.gz")

    def _checkpoint_folder(self, base: Path) -> Path | None:
        wanted = self.request.get("CheckpointConfig")
        if wanted is None:
            return None
        local = wanted.get("LocalPath", CONTAINER_ROOT + "checkpoints/")
        within = local.startswith(CONTAINER_ROOT)
        folder = base / local[len(CONTAINER_ROOT) :] if within else Path(local)
        # A new instance has nothing but what S3 keeps.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for place, name in keys_of(self.services.s3, "S3Prefix", wanted["S3Uri"].rstrip("/") + "/"):
            self._fetch(place, folder / name)
        self._synced = {}
        return folder

    def _save_checkpoints(self, folder: Path | None) -> None:
        if folder is None:
            return
        for path in sorted(folder.rglob("*")):
            with contextlib.suppress(FileNotFoundError):
                facts = path.stat()
                stamp = (facts.st_mtime_ns, facts.st_size)
                if path.is_file() and self._synced.get(path) != stamp:
                    self._put(path, join_uri(self.request["CheckpointConfig"]["S3Uri"], str(path.relative_to(folder))))
                    self._synced[path] = stamp


class TransformJob(Job):
    """CreateTransformJob: the model's archive unpacked, each object answered by the serving toolkit."""

    kind = "transform-job"
    group = "/aws/sagemaker/TransformJobs"

    def __init__(
        self,
        services: Services,
        name: str,
        arn: str,
        request: dict[str, Any],
        model: dict[str, Any],
        pretended_model: str | None,
    ) -> None:
        super().__init__(services, name, arn, request, pretended_model)
        self.model = model
        self.started: float | None = None
        self.ended: float | None = None

    def describe(self) -> dict[str, Any]:
        with self.lock:
            facts = {name: value for name, value in self.request.items() if name not in ("Tags", "ExperimentConfig")}
            # The service reports its defaults.
            facts["TransformInput"] = {"CompressionType": "None", "SplitType": "None", **self.request["TransformInput"]}
            facts["TransformOutput"] = {"AssembleWith": "None", "KmsKeyId": "", **self.request["TransformOutput"]}
            facts.update(TransformJobArn=self.arn, TransformJobStatus=self.status, CreationTime=self.created)
            if self.reason:
                facts["FailureReason"] = self.reason
            if self.started:
                facts["TransformStartTime"] = self.started
            if self.ended:
                facts["TransformEndTime"] = self.ended
            return facts

    def _end(self, status: str, reason: str | None = None, secondary: str | None = None) -> None:
        del secondary
        with self.lock:
            self.status, self.reason, self.ended = status, reason, time.time()

    def _work(self) -> None:
        if self.pretended_model:
            return
        base = self.folder / "ml"
        archive = self.folder / "model.tar.gz"
        self._fetch("/".join(split_uri(self.model["PrimaryContainer"]["ModelDataUrl"])), archive)
        with tarfile.open(archive, "r:gz") as tar:
            tar.extractall(base / "model", filter="data")
        self.started = time.time()
        data = self.request["TransformInput"]
        source = data["DataSource"]["S3DataSource"]
        objects = []
        for number, (place, name) in enumerate(keys_of(self.services.s3, source["S3DataType"], source["S3Uri"])):
            item = {
                "name": name,
                "source": str(self.folder / f"in-{number}"),
                "target": str(self.folder / f"out-{number}"),
            }
            self._fetch(place, Path(item["source"]))
            objects.append({**item, "place": place})
            self._check()
        megabytes = self.request.get("MaxPayloadInMB", DEFAULT_PAYLOAD_MB)
        strategy = self.request.get("BatchStrategy", "MultiRecord")
        plan = {
            "model": str(base / "model"),
            "objects": objects,
            "content_type": data.get("ContentType"),
            "accept": self.request["TransformOutput"].get("Accept"),
            "split": data.get("SplitType", "None"),
            "strategy": strategy,
            "assemble": self.request["TransformOutput"].get("AssembleWith", "None"),
            "gzip": data.get("CompressionType", "None") == "Gzip",
            "limit": megabytes << 20,
            "results": str(self.folder / "results"),
        }
        (self.folder / "plan.json").write_text(json.dumps(plan))
        variables = {
            **container_environment(self.services.python),
            **SERVING_VARIABLES,
            **self.model["PrimaryContainer"].get("Environment", {}),
            "SAGEMAKER_BATCH": "true",
            "SAGEMAKER_MAX_PAYLOAD_IN_MB": str(megabytes),
            "SAGEMAKER_BATCH_STRATEGY": strategy.replace("Record", "_RECORD").upper(),
            "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": str(self.request.get("MaxConcurrentTransforms", 1)),
            **self.request.get("Environment", {}),
            "SAGEMAKER_BASE_DIR": str(base),
            "PYTHONPATH": str(base / "model" / "code"),
        }
        stream = f"{self.name}/i-0{int(self.created):016x}-{self.arn[-8:].encode().hex()}"
        self._log(
            f"{stream}/data-log",
            [
                f"{_now()}:[sagemaker logs]: MaxConcurrentTransforms={self.request.get('MaxConcurrentTransforms', 1)},"
                f" MaxPayloadInMB={megabytes}, BatchStrategy={variables['SAGEMAKER_BATCH_STRATEGY']}"
            ],
        )
        command = [str(self.services.python), str(TRANSFORM_SCRIPT), str(self.folder / "plan.json")]
        code = self._execute([(command, variables, self.folder, stream)], lambda: None, 24 * 3600)
        failed = self._deliver(plan, f"{stream}/data-log")
        if code:
            raise Failed(
                "AlgorithmError: Model server died. See job logs for more information"
                if failed is None
                else "ClientError: See job logs for more information"
            )
        if failed:
            raise Failed("AlgorithmError: See job logs for more information")

    def _deliver(self, plan: dict[str, Any], stream: str) -> list[str] | None:
        """Puts the outputs to S3, and returns the objects that have none; None where the model did not come up."""
        try:
            lines = Path(plan["results"]).read_text().splitlines()
        except FileNotFoundError:
            return None
        results = {item["name"]: item.get("error") for item in map(json.loads, lines)}
        failed = []
        for item in plan["objects"]:
            error = results.get(item["name"], "not reached")
            if error is None:
                uri = join_uri(self.request["TransformOutput"]["S3OutputPath"], item["name"] + ".out")
                self._put(Path(item["target"]), uri)
            else:
                failed.append(item["name"])
                self._log(
                    stream, [f"{_now()}:[sagemaker logs]: {item['place']}: {line}" for line in error.splitlines()]
                )
        return failed


def _archive(bases: Sequence[Path], folder: str) -> Path:
    target = bases[0] / f"{folder.replace('/', '-')}.tar.gz"
    with tarfile.open(target, "w:gz", compresslevel=1) as tar:
        for path, name in _members(bases, folder):
            tar.add(path, name, recursive=False)
    return target


def _members(bases: Sequence[Path], folder: str) -> Iterator[tuple[Path, str]]:
    for base in bases:
        root = base / folder
        for path in sorted(root.rglob("*")):
            yield path, str(path.relative_to(root))


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + ".000"
