"""The test cloud as tests see it: a process on loopback (cloud_server.py), credentials for it, and what steers it.

Like an account on AWS it keeps what was put there: tests give their jobs and places names of their own.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

ROOT = Path(__file__).parent.parent.parent
REGION = "us-west-2"
ROLE_PATH = "/service-role/"
ROLE_NAME = "AmazonSageMaker-ExecutionRole-20200101T000001"
# Of the user that assumes the notebook's role; fake, as all of this cloud's credentials.
USER_CREDENTIALS = {
    "aws_access_key_id": "AKIAIOSFODNN7EXAMPLE",
    "aws_secret_access_key": "wJalrXUtnFEMIexampleEXAMPLEKEY",
}
ENDED = ("Completed", "Failed", "Stopped")
LOG_GROUPS = {"training": "/aws/sagemaker/TrainingJobs", "transform": "/aws/sagemaker/TransformJobs"}


@dataclass
class Cloud:
    """A running cloud.

    Attributes:
        endpoint: its address.
        region: the only one whose jobs it runs.
        role: the ARN of the role of the credentials, which jobs may also run as.
        credentials: the variables with which boto3 finds them.
    """

    endpoint: str
    region: str
    role: str
    credentials: dict[str, str]
    _session: Any = None
    _clients: dict[tuple[str, bool], Any] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make boto3 come here with the notebook's credentials."""
        return {
            **self.credentials,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_REGION": self.region,
            # Neither the user's own settings nor an instance's role.
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, service: str, *, checked: bool = True) -> Any:
        """A plain client that does not retry; unchecked it sends whatever it is given."""
        if (service, checked) not in self._clients:
            # Models of services are large, and a session reads each only once.
            if self._session is None:
                names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
                self._session = boto3.Session(*(self.credentials[name] for name in names), region_name=self.region)
            config = Config(retries={"total_max_attempts": 1}, parameter_validation=checked)
            self._clients[service, checked] = self._session.client(service, endpoint_url=self.endpoint, config=config)
        return self._clients[service, checked]

    def make_bucket(self, name: str) -> str:
        """A bucket; one that is there already is taken."""
        s3 = self.client("s3")
        with contextlib.suppress(s3.exceptions.BucketAlreadyOwnedByYou):
            s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": self.region})
        return name

    def upload(self, folder: Path, bucket: str, prefix: str) -> str:
        """Puts all files below a folder to S3, and returns the place."""
        s3 = self.client("s3")
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                s3.put_object(Bucket=bucket, Key=f"{prefix}/{path.relative_to(folder)}", Body=path.read_bytes())
        return f"s3://{bucket}/{prefix}"

    def objects(self, place: str) -> dict[str, bytes]:
        """The objects whose keys begin with a place's, by the rest of their names."""
        bucket, _, prefix = place.removeprefix("s3://").partition("/")
        s3 = self.client("s3")
        found = {}
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", ()):
                body = s3.get_object(Bucket=bucket, Key=item["Key"])["Body"]
                with contextlib.closing(body):
                    found[item["Key"][len(prefix) :].lstrip("/")] = body.read()
        return found

    def wait(self, kind: str, name: str, until: tuple[str, ...] = ENDED, timeout_s: float = 300) -> dict[str, Any]:
        """Waits for a job, and returns what the service says of it.

        Args:
            kind: ``training`` or ``transform``.
            name: the job's.
            until: of which statuses, or secondary statuses, it must have one.
            timeout_s: seconds.
        """
        sagemaker = self.client("sagemaker")
        describe = getattr(sagemaker, f"describe_{kind}_job")
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            facts: dict[str, Any] = describe(**{f"{kind.capitalize()}JobName": name})
            if {facts[f"{kind.capitalize()}JobStatus"], facts.get("SecondaryStatus")} & set(until):
                return facts
            time.sleep(0.1)
        raise TimeoutError(f"the {kind} job {name} is still {facts}")

    def log_lines(self, kind: str, name: str) -> list[str]:
        """What a job has printed, stream after stream."""
        logs, group = self.client("logs"), LOG_GROUPS[kind]
        lines = []
        for stream in logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=name + "/")["logStreams"]:
            pages = logs.get_paginator("filter_log_events").paginate(
                logGroupName=group, logStreamNames=[stream["logStreamName"]]
            )
            lines += [event["message"] for page in pages for event in page["events"]]
        return lines

    # Steering

    def throttle(self, operation: str, times: int) -> None:
        """The next calls of an operation (``*``: of any) are answered by ThrottlingException."""
        self.fail(operation, "ThrottlingException", "Rate exceeded", times=times)

    def fail(self, operation: str, code: str, message: str, *, status: int = 400, times: int = 1) -> None:
        """The next calls of an operation are answered by an error."""
        self._steer("fault", operation=operation, code=code, message=message, status=status, times=times)

    def refuse_instances(self, instance_type: str) -> None:
        """The account may have none of these: ResourceLimitExceeded."""
        self._steer("no-quota", instance_type=instance_type)

    def interrupt(self, training_job: str) -> None:
        """Takes a spot training's instance back; the job begins again with its checkpoints."""
        self._steer("interrupt", name=training_job)

    def pretend(self, model: str) -> None:
        """From now on jobs do nothing and are completed; a training's model is a copy of the archive at that place."""
        self._steer("pretend", model=model)

    def requests(self, operation: str) -> list[dict[str, Any]]:
        """The bodies of an operation's calls since the last reset, also of those that were refused."""
        return [request for called, request in self.calls() if called == operation]

    def calls(self) -> list[tuple[str, dict[str, Any]]]:
        """All calls since the last reset, as (operation, request)."""
        return [(call["operation"], call["request"]) for call in self._steer("requests")]

    def violations(self) -> list[str]:
        """How requests since the last reset have broken the service's model."""
        found: list[str] = self._steer("violations")
        return found

    def reset(self) -> None:
        """Forgets recorded requests, violations, faults and what else tests have set; jobs and objects stay."""
        self._steer("reset")

    def _steer(self, what: str, **order: Any) -> Any:
        request = urllib.request.Request(f"{self.endpoint}/_cloud/{what}", json.dumps(order).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=300) as response:
            return json.load(response)


@contextlib.contextmanager
def running_cloud(container_python: Path, folder: Path) -> Iterator[Cloud]:
    """Starts a cloud; it ends with the block, and with this process."""
    log = folder / "cloud.log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    command = [sys.executable, "-m", "tests.sagemaker.cloud_server", "--python", str(container_python)]
    with open(log, "w") as errors:
        process = subprocess.Popen(
            [*command, "--folder", str(folder), "--region", REGION],
            cwd=ROOT,
            env={**environment, "AWS_EC2_METADATA_DISABLED": "true"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        try:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError("the cloud did not come up:\n" + log.read_text()[-3000:])
            yield _with_role(json.loads(line)["endpoint"])
        finally:
            process.stdin.close()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    if "Traceback" in log.read_text():
        raise RuntimeError("the cloud has defects:\n" + log.read_text()[-3000:])


def _with_role(endpoint: str) -> Cloud:
    """The cloud with a notebook's role, and the credentials that a notebook has by it."""
    session = boto3.Session(**USER_CREDENTIALS, region_name=REGION)
    iam, sts = (session.client(service, endpoint_url=endpoint) for service in ("iam", "sts"))
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "sagemaker.amazonaws.com"}}
        ],
    }
    role = iam.create_role(RoleName=ROLE_NAME, Path=ROLE_PATH, AssumeRolePolicyDocument=json.dumps(policy))["Role"]
    got = sts.assume_role(RoleArn=role["Arn"], RoleSessionName="SageMaker")["Credentials"]
    return Cloud(
        endpoint,
        REGION,
        role["Arn"],
        {
            "AWS_ACCESS_KEY_ID": got["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": got["SecretAccessKey"],
            "AWS_SESSION_TOKEN": got["SessionToken"],
        },
    )
