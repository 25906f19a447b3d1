"""The connection to a bucket is as botocore's chain says: region, endpoint, profile, credentials."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from fastinfer.errors import ConfigError, ServiceError
from fastinfer.storage.retry import Patience
from fastinfer.storage.s3_connection import Connection
from tests import s3


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Nothing is configured; gives the file of the configuration."""
    for name in (*s3.environment(""), "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return tmp_path / "config"


def config_of(connection: Connection) -> dict[str, Any]:
    return dict(connection.stores[False].config)


def test_a_profile_gives_endpoint_region_and_credentials(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh.write_text(
        "[profile mine]\nregion = eu-north-1\naws_access_key_id = AKID\naws_secret_access_key = secret\n"
        "services = local\n[services local]\ns3 =\n  endpoint_url = http://127.0.0.1:1\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "mine")
    connection = Connection("bucket", None, Patience())
    assert config_of(connection)["region"] == "eu-north-1"
    assert config_of(connection)["endpoint"] == "http://127.0.0.1:1"
    credentials = connection._credentials()()
    assert (credentials["access_key_id"], credentials["secret_access_key"]) == ("AKID", "secret")


def test_on_aws_a_bucket_is_asked_for_its_region(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del fresh
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setattr(Connection, "_region", lambda _: "ap-south-1")
    connection = Connection("bucket", None, Patience())
    assert connection.client.meta.region_name == "ap-south-1"
    config = config_of(connection)
    assert (config["region"], str(config["virtual_hosted_style_request"]).lower()) == ("ap-south-1", "true")
    assert "endpoint" not in config
    # A certificate for *.s3.amazonaws.com is not one for a name with dots.
    dotted = config_of(Connection("with.dots", None, Patience()))
    assert str(dotted["virtual_hosted_style_request"]).lower() == "false"


def test_a_profile_that_does_not_exist_is_named(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del fresh
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ServiceError, match=r"s3://bucket: .*nobody"):
        Connection("bucket", None, Patience())


@pytest.mark.parametrize("package", ["boto3", "obstore"])
def test_a_package_that_is_missing_is_named_with_both_that_s3_needs(
    package: str, fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del fresh
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    for module in (package, f"{package}.store"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=f"requires? {package}, which is not installed") as caught:
        assert Connection("bucket", None, Patience()).stores
    assert caught.value.code == f"{package}_missing"
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("pip install 'obstore")
    assert "'boto3" in caught.value.hint
