"""A session: whose account and region, where the default bucket is, and how bytes get from one place to another.

Nothing is asked of AWS, and boto3 is not imported, before something is needed of it. Places on this machine work in every
session.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..errors import ConfigError, InputError, quote
from ..storage.atomic import make_folder, replacing, unreadable
from ..storage.aws import ServiceError, client_config, load_boto3, told
from ..storage.uri import LOCAL_BUCKET, is_s3, join, local_path, relative_key, split_s3
from .logs import CloudWatchLogs, JobKind, Logs

# Notebook instances and Studio say here what they are.
NOTEBOOK_METADATA = Path("/opt/ml/metadata/resource-metadata.json")
ROLE_VARIABLE = "SAGEMAKER_ROLE"
ROOT_VARIABLE = "FASTINFER_LOCAL_ROOT"

# The role of jobs that run on this machine, where nobody looks at it.
LOCAL_ROLE = "arn:aws:iam::000000000000:role/local"

POLL_S = 5.0
COPY_BYTES = 1 << 20

_default_sessions: dict[tuple[tuple[str, str], ...], Session] = {}


@dataclass(frozen=True)
class Item:
    """An object below a place: its own place, its name relative to that, its size in bytes."""

    place: str
    name: str
    size: int


class Session:
    """Credentials and region as boto3 finds them, honouring $AWS_PROFILE, $AWS_REGION and $AWS_ENDPOINT_URL(_SERVICE).

    Args:
        boto_session: a ``boto3.Session``; None: one is made.
        sagemaker_client: boto3's client for SageMaker; None: one is made.
        default_bucket: the bucket of :meth:`default_bucket`; None: ``sagemaker-REGION-ACCOUNT``.
        default_bucket_prefix: put before every key that is made up below the default bucket.
        profile: name of a profile in AWS's configuration.
        region: such as ``us-west-2``.
        poll_seconds: how long to wait between two looks at a job.
        stop_on_interrupt: whether Ctrl-C while waiting also stops the job; else it goes on, to be waited for by its name.
        stream: where progress and logs are printed; None: stdout, as SageMaker's SDK does.
    """

    local_mode = False
    # Whether the last lines of a job's log come after its end.
    late_logs = True

    def __init__(
        self,
        boto_session: Any = None,
        sagemaker_client: Any = None,
        default_bucket: str | None = None,
        default_bucket_prefix: str | None = None,
        *,
        profile: str | None = None,
        region: str | None = None,
        poll_seconds: float = POLL_S,
        stop_on_interrupt: bool = False,
        stream: IO[str] | None = None,
    ) -> None:
        self._boto_session = boto_session
        self._given_boto_session = boto_session is not None
        self._clients: dict[str, Any] = {}
        if sagemaker_client is not None:
            self._clients["sagemaker"] = sagemaker_client
        self._bucket_name = default_bucket
        self._checked_bucket: str | None = None
        self.default_bucket_prefix = default_bucket_prefix
        self.profile = profile
        self.region = region
        self.poll_seconds = poll_seconds
        self.stop_on_interrupt = stop_on_interrupt
        self.stream = stream

    def say(self, text: str) -> None:
        """Prints a line of progress."""
        print(text, file=self.stream or sys.stdout, flush=True)

    # Who and where

    @property
    def boto_session(self) -> Any:
        """The ``boto3.Session``.

        Raises:
            ConfigError: ``boto3_missing``, or ``aws_refused`` for a profile that is not there.
        """
        if self._boto_session is None:
            boto3 = load_boto3()
            with told("the AWS session"):
                self._boto_session = boto3.Session(profile_name=self.profile, region_name=self.region)
        return self._boto_session

    @property
    def boto_region_name(self) -> str:
        """The region.

        Raises:
            ConfigError: ``no_region``.
        """
        region = self.region or self.boto_session.region_name
        if not region:
            raise ConfigError(
                "no AWS region is set",
                code="no_region",
                hint="$AWS_DEFAULT_REGION, aws configure, or Session(region=...)",
            )
        return str(region)

    def environment(self) -> dict[str, str]:
        """This process's variables, with those by which another process has the same credentials and region."""
        variables = dict(os.environ)
        if self.profile:
            variables["AWS_PROFILE"] = self.profile
        if self.region:
            variables["AWS_DEFAULT_REGION"] = self.region
        if self._given_boto_session:
            region, credentials = self._boto_session.region_name, self._boto_session.get_credentials()
            if region:
                variables["AWS_DEFAULT_REGION"] = region
            if credentials is not None:
                frozen = credentials.get_frozen_credentials()
                variables.pop("AWS_PROFILE", None)
                variables.pop("AWS_SESSION_TOKEN", None)
                variables["AWS_ACCESS_KEY_ID"], variables["AWS_SECRET_ACCESS_KEY"] = (
                    frozen.access_key,
                    frozen.secret_key,
                )
                if frozen.token:
                    variables["AWS_SESSION_TOKEN"] = frozen.token
        return variables

    def client(self, service: str) -> Any:
        """boto3's client for a service."""
        if service not in self._clients:
            region = self.boto_region_name
            with told(f"AWS {service}"):
                self._clients[service] = self.boto_session.client(service, region_name=region, config=client_config())
        return self._clients[service]

    @property
    def sagemaker_client(self) -> Any:
        """What understands CreateTrainingJob, CreateModel, CreateTransformJob and their like."""
        return self.client("sagemaker")

    def account_id(self) -> str:
        """The account that the credentials belong to."""
        client = self.client("sts")
        with told("the AWS account"):
            return str(client.get_caller_identity()["Account"])

    def get_caller_identity_arn(self) -> str:
        """The role of this notebook, else of the credentials; the user's ARN where they are no role's."""
        role = self._notebook_role()
        if role:
            return role
        client = self.client("sts")
        with told("the AWS identity"):
            arn = str(client.get_caller_identity()["Arn"])
        assumed = re.match(r"^(.+)sts::(\d+):assumed-role/(.+?)/.*$", arn)
        if assumed is None:
            return arn
        # An assumed role's ARN lacks the role's path, which only IAM knows.
        try:
            return self._role_arn(assumed[3])
        except ServiceError:
            path = "service-role/" if "AmazonSageMaker-ExecutionRole" in assumed[3] else ""
            return f"{assumed[1]}iam::{assumed[2]}:role/{path}{assumed[3]}"

    def expand_role(self, role: str | None) -> str:
        """A role's ARN, by IAM where its bare name is given.

        Raises:
            ConfigError: ``no_role``, or what AWS refuses.
        """
        if not role:
            raise ConfigError(
                "a job on AWS needs a role",
                code="no_role",
                hint="role=get_execution_role(), its ARN or its name; instance_type='local' needs none",
            )
        return role if "/" in role else self._role_arn(role)

    def _role_arn(self, name: str) -> str:
        client = self.client("iam")
        with told(f"the role {quote(name)}"):
            return str(client.get_role(RoleName=name)["Role"]["Arn"])

    def _notebook_role(self) -> str | None:
        try:
            facts = json.loads(NOTEBOOK_METADATA.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(facts, dict):
            return None
        if facts.get("ExecutionRoleArn"):
            return str(facts["ExecutionRoleArn"])
        try:
            with told("the notebook's role"):
                if not facts.get("DomainId"):
                    answer = self.sagemaker_client.describe_notebook_instance(
                        NotebookInstanceName=facts.get("ResourceName", "")
                    )
                    return str(answer["RoleArn"])
                user = self.sagemaker_client.describe_user_profile(
                    DomainId=facts["DomainId"], UserProfileName=facts.get("UserProfileName", "")
                )
                if user.get("UserSettings", {}).get("ExecutionRole"):
                    return str(user["UserSettings"]["ExecutionRole"])
                domain = self.sagemaker_client.describe_domain(DomainId=facts["DomainId"])
                return str(domain["DefaultUserSettings"]["ExecutionRole"])
        except (ServiceError, KeyError):
            return None  # the credentials' own identity is asked next

    # The default bucket

    def default_bucket(self) -> str:
        """The name of the bucket for what the user gave no place; made where it is missing.

        Raises:
            ConfigError: ``foreign_bucket`` where it belongs to another account; what else AWS refuses.
        """
        if self._checked_bucket is None:
            account = None
            name = self._bucket_name
            if name is None:
                account = self.account_id()
                name = f"sagemaker-{self.boto_region_name}-{account}"
            self._have_bucket(name, account)
            self._checked_bucket = name
        return self._checked_bucket

    def _have_bucket(self, name: str, account: str | None) -> None:
        """Makes a bucket where it is missing. One whose name anybody can guess must be the account's own."""
        s3, region = self.client("s3"), self.boto_region_name
        owner = {"ExpectedBucketOwner": account} if account else {}
        try:
            with told(f"the bucket {name}"):
                s3.head_bucket(Bucket=name, **owner)
            return
        except ServiceError as error:
            if error.code == "aws_denied":
                raise ConfigError(
                    f"the bucket {name} exists, and is not this account's or may not be used by it",
                    code="foreign_bucket",
                    hint="Session(default_bucket=...) names another",
                ) from error
            if error.code != "aws_missing":
                raise
        # us-east-1 is what no constraint means, and may not be named as one.
        where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        try:
            with told(f"making the bucket {name}"):
                s3.create_bucket(Bucket=name, **where)
        except ServiceError as error:
            # Somebody else was faster: another of this account's sessions, or a stranger.
            if error.service_code not in ("BucketAlreadyOwnedByYou", "OperationAborted"):
                raise
        if account:
            with told(f"the bucket {name}"):
                s3.get_waiter("bucket_exists").wait(Bucket=name, WaiterConfig={"Delay": 2, "MaxAttempts": 10}, **owner)

    def default_place(self, *names: str) -> str:
        """A place below the default bucket."""
        return join("s3://", self.default_bucket(), self.default_bucket_prefix, *names)

    # Bytes

    def local_path(self, place: str) -> Path | None:
        """The path of a place that is on this machine; None for one that is not."""
        if not is_s3(place):
            return local_path(place)
        bucket, key = split_s3(place)
        return local_root() / LOCAL_BUCKET / key if bucket == LOCAL_BUCKET else None

    def items(self, place: str) -> Iterator[Item]:
        """The objects of a place, in the order of their names.

        On this machine: the files below a folder, or the one file; hidden ones, and those in hidden folders, are no
        objects. In S3: every key that begins with the place's; keys that end with ``/`` stand for folders, and are none.

        Raises:
            InputError: ``no_such_place``.
        """
        path = self.local_path(place)
        if path is not None:
            yield from _local_items(path, place)
            return
        bucket, prefix = split_s3(place)
        client = self.client("s3")
        with told(f"listing {place}"):
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                for found in page.get("Contents", ()):
                    if not found["Key"].endswith("/"):
                        yield Item(
                            f"s3://{bucket}/{found['Key']}", relative_key(prefix, found["Key"]), int(found["Size"])
                        )

    def read(self, place: str) -> bytes:
        """The bytes of one object.

        Raises:
            InputError: ``no_such_place``, ``cannot_read``.
        """
        path = self.local_path(place)
        if path is None:
            bucket, key = split_s3(place)
            client = self.client("s3")
            try:
                with told(place):
                    return bytes(client.get_object(Bucket=bucket, Key=key)["Body"].read())
            except ServiceError as error:
                raise _as_input_error(error) from error
        try:
            return path.read_bytes()
        except OSError as error:
            raise _unreadable(error, place) from error

    def fetch(self, place: str, target: Path) -> None:
        """Copies one object to the file `target`, whole or not at all.

        Raises:
            InputError: ``no_such_place``, ``cannot_read``.
            OutputError: ``cannot_write``.
        """
        make_folder(target.parent)
        path = self.local_path(place)
        with replacing(target) as temporary:
            if path is None:
                bucket, key = split_s3(place)
                client = self.client("s3")
                try:
                    with told(place):
                        client.download_file(bucket, key, str(temporary))
                except ServiceError as error:
                    raise _as_input_error(error) from error
                return
            with contextlib.ExitStack() as files:
                try:
                    source = files.enter_context(open(path, "rb"))
                except OSError as error:
                    raise _unreadable(error, place) from error
                copy = files.enter_context(open(temporary, "wb"))
                shutil.copyfileobj(source, copy, COPY_BYTES)

    def put(self, source: Path | bytes, place: str, *, kms_key: str | None = None, encrypt: bool = False) -> str:
        """Writes a file's bytes, or these, to `place`, whole or not at all, and returns `place`.

        Args:
            source: a file, or the bytes themselves.
            place: where to; folders on this machine are made.
            kms_key: of S3's encryption; not for this machine.
            encrypt: whether S3 is to encrypt with the account's own KMS key where `kms_key` names none.

        Raises:
            OutputError: ``cannot_write``.
            ConfigError: what AWS refuses.
        """
        path = self.local_path(place)
        if path is None:
            bucket, key = split_s3(place)
            extra = {"ServerSideEncryption": "aws:kms"} if kms_key or encrypt else {}
            if kms_key:
                extra["SSEKMSKeyId"] = kms_key
            client = self.client("s3")
            with told(f"writing {place}"):
                if isinstance(source, bytes):
                    client.put_object(Bucket=bucket, Key=key, Body=source, **extra)
                else:
                    client.upload_file(str(source), bucket, key, ExtraArgs=extra or None)
            return place
        make_folder(path.parent)
        with replacing(path) as temporary:
            if isinstance(source, bytes):
                temporary.write_bytes(source)
            else:
                shutil.copyfile(source, temporary)
        return place

    # Jobs

    def logs(self, kind: JobKind, name: str) -> Logs:
        """The logs of a job, to be read as they come."""
        return CloudWatchLogs(self.client("logs"), kind.log_group, name)


def default_session() -> Session:
    """The session of calls that are given none: one for each set of AWS's variables, as making clients takes a while."""
    seen = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))
    if seen not in _default_sessions:
        _default_sessions.clear()
        _default_sessions[seen] = Session()
    return _default_sessions[seen]


def get_execution_role(sagemaker_session: Session | None = None, use_default: bool = False) -> str:
    """The role that jobs run as: $SAGEMAKER_ROLE, else the notebook's, else that of the credentials.

    Args:
        sagemaker_session: whom to ask; None: a new :class:`Session`. A local session's jobs need no role.
        use_default: SageMaker's SDK makes a role where this is true; fastinfer does not.

    Raises:
        ConfigError: ``no_role``, or what AWS refuses.
    """
    if use_default:
        raise ConfigError(
            "fastinfer makes no roles",
            code="no_role",
            hint=f"make one in IAM and name it: ${ROLE_VARIABLE}, or role=...",
        )
    session = sagemaker_session or Session()
    named = os.environ.get(ROLE_VARIABLE)
    if session.local_mode:
        return named or LOCAL_ROLE
    if named:
        return session.expand_role(named)
    try:
        arn = session.get_caller_identity_arn()
    except ServiceError as error:
        if error.code == "no_credentials":
            raise ConfigError(
                "there is no role: no AWS credentials are found here",
                code="no_role",
                hint=f"${ROLE_VARIABLE}, or role=...; instance_type='local' needs none",
            ) from error
        raise
    if ":role/" not in arn:
        raise ConfigError(
            f"the AWS identity is not a role, so that no job can run as it: {arn}",
            code="no_role",
            hint=f"the ARN or name of a role in ${ROLE_VARIABLE}, or as role=...",
        )
    return arn


def local_root() -> Path:
    """The folder of local jobs and of the local bucket where a session names none."""
    given = os.environ.get(ROOT_VARIABLE)
    if given:
        return Path(given).absolute()
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return Path(data) / "fastinfer" / "sagemaker"


def _local_items(path: Path, place: str) -> Iterator[Item]:
    if path.is_file():
        yield Item(str(path), path.name, path.stat().st_size)
        return
    if not path.is_dir():
        raise InputError("there is no such file or folder", code="no_such_place", path=place)
    found = []
    for folder, folders, files in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(folder) / name for name in files if not name.startswith(".")]
    for file in sorted(found, key=lambda file: file.relative_to(path).as_posix()):
        yield Item(str(file), file.relative_to(path).as_posix(), file.stat().st_size)


def _unreadable(error: OSError, place: str) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError("there is no such file", code="no_such_place", path=place)
    return unreadable(place, error)


def _as_input_error(error: ServiceError) -> Exception:
    """S3 has no such object: what is at fault is the input; anything else stays what it is."""
    if error.code != "aws_missing":
        return error
    return InputError(error.message, code="no_such_place", hint=error.hint)
