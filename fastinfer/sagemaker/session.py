"""A session: the account and region, their default bucket and clients, and the store that each URI belongs to.

boto3 is imported and AWS called only when they are needed. Local paths work in every session.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from ..errors import ConfigError, ServiceError, quote
from ..storage.aws import client_config, load_boto3, translating_errors
from ..storage.base import Object
from ..storage.files import FileStore
from ..storage.s3 import S3Store
from ..storage.uri import LOCAL_BUCKET, is_s3, join, local_path, split_s3
from .logs import CloudWatchLogs, JobKind, Logs
from .roles import caller_identity_arn, role_arn

ROLE_VARIABLE = "SAGEMAKER_ROLE"
ROOT_VARIABLE = "FASTINFER_LOCAL_ROOT"

# The role of local jobs, which nothing checks.
LOCAL_ROLE = "arn:aws:iam::000000000000:role/local"

POLL_S = 5.0

_default_sessions: dict[tuple[tuple[str, str], ...], Session] = {}


class Session:
    """An AWS account and region, found as boto3 finds them: $AWS_PROFILE, $AWS_REGION, $AWS_ENDPOINT_URL(_SERVICE), …

    Args:
        boto_session: a ``boto3.Session``; None: a new one.
        sagemaker_client: boto3's client for SageMaker; None: a new one.
        default_bucket: the bucket of :meth:`default_bucket`; None: ``sagemaker-REGION-ACCOUNT``.
        default_bucket_prefix: the prefix of all keys that fastinfer chooses in the default bucket.
        profile: a profile in AWS's configuration.
        region: such as ``us-west-2``.
        poll_seconds: the longest time between two requests for a job's status.
        stop_on_interrupt: whether Ctrl-C while waiting also stops the job; otherwise the job continues, and its name can be
            used to wait for it again.
        stream: where progress and logs are printed; None: stdout, as SageMaker's SDK does.
    """

    local_mode = False
    # Whether the last lines of a job's log arrive after its end.
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

    # Account, region and clients

    @property
    def boto_session(self) -> Any:
        """The ``boto3.Session``.

        Raises:
            ConfigError: ``boto3_missing``.
            ServiceError: ``aws_refused`` for an unknown profile.
        """
        if self._boto_session is None:
            boto3 = load_boto3()
            with translating_errors("the AWS session"):
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
                hint="set $AWS_DEFAULT_REGION, run aws configure, or pass Session(region=...)",
            )
        return str(region)

    def environment(self) -> dict[str, str]:
        """This process's environment variables, and those that give another process the same credentials and region."""
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
            with translating_errors(f"AWS {service}"):
                self._clients[service] = self.boto_session.client(service, region_name=region, config=client_config())
        return self._clients[service]

    @property
    def sagemaker_client(self) -> Any:
        """The client for CreateTrainingJob, CreateModel, CreateTransformJob and related calls."""
        return self.client("sagemaker")

    def account_id(self) -> str:
        """The account of the credentials."""
        client = self.client("sts")
        with translating_errors("the AWS account"):
            return str(client.get_caller_identity()["Account"])

    def get_caller_identity_arn(self) -> str:
        """The ARN of this notebook's role, else of the credentials' role, else of the credentials' user."""
        return caller_identity_arn(self.client)

    def expand_role(self, role: str | None) -> str:
        """A role's ARN; IAM is asked where only its name is given.

        Raises:
            ConfigError: ``no_role``.
            ServiceError: AWS refused, or there is no such role.
        """
        if not role:
            raise ConfigError(
                "a job on AWS requires a role",
                code="no_role",
                hint="pass role=get_execution_role(), an ARN or a role's name; instance_type='local' needs none",
            )
        return role if "/" in role else role_arn(self.client, role)

    # The default bucket

    def default_bucket(self) -> str:
        """The bucket of everything that the user gave no URI for; created where it is missing.

        Raises:
            ConfigError: ``foreign_bucket`` where it belongs to another account.
            ServiceError: AWS refused.
        """
        if self._checked_bucket is None:
            account = None
            name = self._bucket_name
            if name is None:
                account = self.account_id()
                name = f"sagemaker-{self.boto_region_name}-{account}"
            self._ensure_bucket(name, account)
            self._checked_bucket = name
        return self._checked_bucket

    def _ensure_bucket(self, name: str, account: str | None) -> None:
        """Creates a bucket where it is missing. A bucket with a guessable name must belong to the account."""
        s3, region = self.client("s3"), self.boto_region_name
        owner = {"ExpectedBucketOwner": account} if account else {}
        try:
            with translating_errors(f"the bucket {name}"):
                s3.head_bucket(Bucket=name, **owner)
            return
        except ServiceError as error:
            if error.code == "aws_denied":
                raise ConfigError(
                    f"the bucket {name} exists but belongs to another account, or this account may not use it",
                    code="foreign_bucket",
                    hint="name another one: Session(default_bucket=...)",
                ) from error
            if error.code != "aws_missing":
                raise
        # No constraint means us-east-1, which S3 does not accept as a constraint.
        where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        try:
            with translating_errors(f"creating the bucket {name}"):
                s3.create_bucket(Bucket=name, **where)
        except ServiceError as error:
            # Created meanwhile by another session of this account.
            if error.service_code not in ("BucketAlreadyOwnedByYou", "OperationAborted"):
                raise
        if account:
            with translating_errors(f"the bucket {name}"):
                s3.get_waiter("bucket_exists").wait(Bucket=name, WaiterConfig={"Delay": 2, "MaxAttempts": 10}, **owner)

    def default_uri(self, *names: str) -> str:
        """A URI in the default bucket."""
        return join("s3://", self.default_bucket(), self.default_bucket_prefix, *names)

    # Objects

    def local_path(self, uri: str) -> Path | None:
        """The local path of a URI; None for a URI of S3. The local bucket is a folder."""
        if not is_s3(uri):
            return local_path(uri)
        bucket, key = split_s3(uri)
        return local_root() / LOCAL_BUCKET / key if bucket == LOCAL_BUCKET else None

    def list_objects(self, uri: str) -> Iterator[Object]:
        """The objects of a URI in the order of their keys: in S3 all keys that begin with it, else a file or a folder's files.

        Raises:
            InputError: ``no_such_place`` for a missing file or folder.
        """
        store, location = self._find_store(uri)
        return store.list_objects(location)

    def read(self, uri: str) -> bytes:
        """The bytes of one object. Raises InputError (``no_such_place``, ``cannot_read``)."""
        store, location = self._find_store(uri)
        return store.read(location)

    def fetch(self, uri: str, target: Path) -> None:
        """Copies one object to the file `target`, whole or not at all. Raises as :meth:`read`, and OutputError."""
        store, location = self._find_store(uri)
        store.fetch(location, target)

    def put(self, source: Path | bytes, uri: str, *, kms_key: str | None = None, encrypt: bool = False) -> str:
        """Writes a file's bytes, or the given ones, whole or not at all; returns `uri`.

        Args:
            source: a file, or the bytes themselves.
            uri: the object; missing local folders are created.
            kms_key: the KMS key that S3 encrypts with.
            encrypt: whether S3 encrypts with the account's own KMS key where `kms_key` is None.

        Raises:
            OutputError: ``cannot_write``.
            ServiceError: AWS refused.
        """
        store, location = self._find_store(uri)
        store.put(source, location, kms_key=kms_key, encrypt=encrypt)
        return uri

    def upload(self, path: str, uri: str, *, kms_key: str | None = None, encrypt: bool = False) -> None:
        """Writes a file, or all files of a folder, below a URI, as :meth:`put`. Raises also InputError (``no_such_place``)."""
        for item in self.list_objects(path):
            if item.problem is not None:
                raise item.problem
            self.put(Path(item.uri), join(uri, item.key), kms_key=kms_key, encrypt=encrypt)

    def upload_data(
        self,
        path: str,
        bucket: str | None = None,
        key_prefix: str = "data",
        extra_args: Mapping[str, str] | None = None,
    ) -> str:
        """Uploads a file or folder to ``s3://BUCKET/KEY_PREFIX/``, as the SDK does; returns the URI of what was uploaded. Of
        `extra_args` only ``SSEKMSKeyId`` and ``ServerSideEncryption`` (``aws:kms``) are supported. Raises as :meth:`upload`."""
        extra = dict(extra_args or {})
        kms_key, encryption = extra.pop("SSEKMSKeyId", None), extra.pop("ServerSideEncryption", None)
        if extra:
            raise ConfigError(
                f"extra_args supports SSEKMSKeyId, ServerSideEncryption; found {', '.join(sorted(extra))}"
            )
        if encryption not in (None, "aws:kms"):
            raise ConfigError(f"ServerSideEncryption supports only aws:kms, found {quote(encryption)}")
        source = local_path(path)
        uri = join("s3://", bucket or self.default_bucket(), key_prefix)
        self.upload(str(source), uri, kms_key=kms_key, encrypt=encryption is not None)
        return uri if source.is_dir() else join(uri, source.name)

    def _find_store(self, uri: str) -> tuple[FileStore | S3Store, str]:
        """The store of a URI, and the URI's name there."""
        path = self.local_path(uri)
        return (S3Store(self.boto_session), uri) if path is None else (FileStore(), str(path))

    def logs(self, kind: JobKind, name: str) -> Logs:
        """The logs of a job."""
        return CloudWatchLogs(self.client("logs"), kind.log_group, name)


def default_session() -> Session:
    """The session of calls that are given none: one per set of AWS's environment variables, as creating clients is slow."""
    variables = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))
    if variables not in _default_sessions:
        _default_sessions.clear()
        _default_sessions[variables] = Session()
    return _default_sessions[variables]


def get_execution_role(sagemaker_session: Session | None = None, use_default: bool = False) -> str:
    """The role that jobs run as: $SAGEMAKER_ROLE, else the notebook's role, else the credentials' role.

    Args:
        sagemaker_session: the account; None: a new :class:`Session`. Jobs of a local session need no role.
        use_default: SageMaker's SDK creates a role where this is true; fastinfer does not.

    Raises:
        ConfigError: ``no_role``.
        ServiceError: AWS refused.
    """
    if use_default:
        raise ConfigError(
            "fastinfer does not create roles",
            code="no_role",
            hint=f"create one in IAM and name it: ${ROLE_VARIABLE}, or role=...",
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
                "no role is known: no AWS credentials were found",
                code="no_role",
                hint=f"set ${ROLE_VARIABLE}, or pass role=...; instance_type='local' needs none",
            ) from error
        raise
    if ":role/" not in arn:
        raise ConfigError(
            f"expected the credentials of a role, found {arn}, which no job can run as",
            code="no_role",
            hint=f"set ${ROLE_VARIABLE} to the ARN or name of a role, or pass it as role=...",
        )
    return arn


def local_root() -> Path:
    """The folder of local jobs and of the local bucket."""
    given = os.environ.get(ROOT_VARIABLE)
    if given:
        return Path(given).absolute()
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return Path(data) / "fastinfer" / "sagemaker"
