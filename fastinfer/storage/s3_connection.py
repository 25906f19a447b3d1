"""The connection to a bucket: credentials, region and endpoint by botocore's chain, for boto3, obstore and signed URLs."""

from __future__ import annotations

import functools
import os
import re
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import ConfigError, ServiceError
from ..extras import install_command
from .aws import client_config, load_boto3, translating_errors
from .retry import Patience

# So long a credential is used before botocore is asked again, which renews its own in time.
CREDENTIALS = timedelta(minutes=5)
# Who lacks one of the packages may lack both.
INSTALL = install_command("s3", "sagemaker")


class Connection:
    """Clients for one bucket.

    Args:
        bucket: its name.
        session: a ``boto3.Session``; None: a new one.
        patience: how long to wait.

    Attributes:
        client: boto3's client for requests that move hardly any bytes.
        http: sends requests that are signed already.
        patience: how long to wait.

    Raises:
        ConfigError: ``boto3_missing``; ``bad_certificates``, also when :attr:`stores` is first used.
        ServiceError: ``aws_refused`` for an unknown profile, and others.
    """

    def __init__(self, bucket: str, session: Any, patience: Patience) -> None:
        self.patience = patience
        self._bucket = bucket
        self._lock = threading.Lock()
        self._large_client: Any = None  # few runs need it
        try:
            boto3 = load_boto3()
        except ConfigError as error:
            raise error.at(hint=INSTALL) from error
        with translating_errors(f"s3://{bucket}"):
            self._session = session or boto3.Session()
            self.client = self._make_client(None, patience.short_request_s)
            if (urlsplit(self.client.meta.endpoint_url).hostname or "").endswith(".amazonaws.com"):
                self.client = self._make_client(self._region(), patience.short_request_s)
            # As boto3's client finds them.
            found = self._session._session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
        self._certificates: str | None = found or None
        if self._certificates is not None and self.client.meta.endpoint_url.startswith("https:"):
            _read_certificates(self._certificates)  # to say so before a request fails
        self.http = _http_session(self._certificates, patience)

    @property
    def large_client(self) -> Any:
        """boto3's client for requests that move many bytes, or are much work for the server."""
        with self._lock:  # a session makes one client at a time
            if self._large_client is None:
                self._large_client = self._make_client(self.client.meta.region_name, self.patience.large_request_s)
            return self._large_client

    @functools.cached_property
    def stores(self) -> dict[bool, Any]:
        """obstore's clients by whether a request is large, which differ in their time limits."""
        try:
            from obstore.store import S3Store
        except ModuleNotFoundError as error:
            raise ConfigError(
                "objects on S3 require obstore, which is not installed", code="obstore_missing", hint=INSTALL
            ) from error
        meta = self.client.meta
        endpoint = urlsplit(meta.endpoint_url)
        place: dict[str, Any] = {"region": meta.region_name or "us-east-1"}
        if (
            endpoint.hostname in (f"s3.{meta.region_name}.amazonaws.com", "s3.amazonaws.com")
            and "." not in self._bucket
        ):
            place["virtual_hosted_style_request"] = True
        else:
            place.update(endpoint=meta.endpoint_url, virtual_hosted_style_request=False)
        patience = self.patience
        trusted = self._certificates if endpoint.scheme == "https" else None
        extra = {} if trusted is None else {"root_certificate": _read_certificates(trusted)}
        credentials = self._credentials()

        def make(is_large: bool) -> Any:
            return S3Store(
                self._bucket,
                **place,
                credential_provider=credentials,
                client_options={  # type: ignore[arg-type]
                    "allow_http": endpoint.scheme == "http",
                    "connect_timeout": timedelta(seconds=patience.connect_s),
                    "timeout": timedelta(seconds=patience.large_request_s if is_large else patience.request_s),
                    **extra,
                },
                # Ours sees every failure, also those that obstore does not repeat.
                retry_config={
                    "max_retries": 0,
                    "backoff": {
                        "init_backoff": timedelta(milliseconds=100),
                        "max_backoff": timedelta(seconds=1),
                        "base": 2,
                    },
                    "retry_timeout": timedelta(minutes=3),
                },
            )

        try:
            return {is_large: make(is_large) for is_large in (False, True)}
        except Exception as error:
            if trusted is None or not re.search("root_certificate|InvalidCertificate", str(error)):
                raise
            raise _refused_certificates(trusted, error) from error

    def _credentials(self) -> Any:
        """What gives obstore botocore's credentials, renewed as botocore renews them."""
        credentials = self._session.get_credentials()
        if credentials is None:
            raise ServiceError(
                f"s3://{self._bucket}: no AWS credentials were found",
                code="no_credentials",
                hint="run aws configure, or set $AWS_PROFILE",
            )

        def provide() -> dict[str, Any]:
            frozen = credentials.get_frozen_credentials()
            return {
                "access_key_id": frozen.access_key,
                "secret_access_key": frozen.secret_key,
                "token": frozen.token,
                "expires_at": datetime.now(timezone.utc) + CREDENTIALS,
            }

        return provide

    def _make_client(self, region: str | None, read_timeout_s: float) -> Any:
        from botocore.config import Config

        config = client_config().merge(
            Config(
                signature_version="s3v4",
                connect_timeout=self.patience.connect_s,
                read_timeout=read_timeout_s,
                # The first attempt is repeated by ours.
                retries={"mode": "standard", "total_max_attempts": 1},
                max_pool_connections=64,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            )
        )
        region = region or self._session.region_name or "us-east-1"
        return self._session.client("s3", region_name=region, config=config)

    def _region(self) -> str | None:
        """The region of a bucket on AWS, which any answer about the bucket names."""
        from botocore.exceptions import ClientError

        try:
            answer = self.client.head_bucket(Bucket=self._bucket)
        except ClientError as error:
            answer = error.response
        found = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amz-bucket-region")
        return None if found is None else str(found)


def _read_certificates(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(
            f"the certificates for S3 cannot be read: {error.strerror}",
            code="bad_certificates",
            path=path,
            hint="set $AWS_CA_BUNDLE to a file in PEM",
        ) from error


def _refused_certificates(path: str, error: Exception) -> ConfigError:
    """The error for certificates that obstore did not take."""
    if "Invalid key" in str(error):
        from obstore import __version__

        return ConfigError(
            f"obstore {__version__} takes no certificates, which came with 0.11",
            code="bad_certificates",
            path=path,
            hint="with Python 3.10 or newer: pip install 'obstore>=0.11,<0.13'",
        )
    return ConfigError(
        "expected certificates in PEM, found something else",
        code="bad_certificates",
        path=path,
        hint="set $AWS_CA_BUNDLE to the certificates of the authority that signed the server's",
    )


def _http_session(certificates: str | None, patience: Patience) -> Any:
    from botocore.httpsession import URLLib3Session
    from botocore.utils import get_environ_proxies

    timeout = (patience.connect_s, patience.request_s)
    verify: Any = certificates or True  # botocore's annotation knows no files of certificates
    return URLLib3Session(verify=verify, proxies=get_environ_proxies("https://s3.amazonaws.com"), timeout=timeout)
