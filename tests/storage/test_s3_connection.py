"""The connection to a bucket is as botocore's chain says: region, endpoint, profile, credentials."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import obstore
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fastinfer.errors import ConfigError, ServiceError
from fastinfer.storage.retry import Patience
from fastinfer.storage.s3_client import Bucket
from fastinfer.storage.s3_connection import Connection
from tests import s3
from tests.storage.conftest import QUICK


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Nothing is configured; gives the file of the configuration."""
    for name in (
        *s3.environment(""),
        "AWS_PROFILE",
        "AWS_SESSION_TOKEN",
        "AWS_REGION",
        "AWS_ENDPOINT_URL",
        "AWS_CA_BUNDLE",
        "REQUESTS_CA_BUNDLE",
    ):
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


@pytest.fixture
def authority(tmp_path: Path) -> tuple[Path, Path]:
    """The certificate of an authority, and that of 127.0.0.1 with its key."""
    now, day = datetime.now(timezone.utc), timedelta(days=1)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in ("authority", "server")]
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    found = []
    for name, key, extension in zip(names, keys, (x509.BasicConstraints(ca=True, path_length=0), address)):
        made = x509.CertificateBuilder().subject_name(name).issuer_name(names[0]).public_key(key.public_key())
        made = made.serial_number(x509.random_serial_number()).not_valid_before(now - day).not_valid_after(now + day)
        found.append(made.add_extension(extension, critical=False).sign(keys[0], hashes.SHA256()))
    paths = tmp_path / "authority.pem", tmp_path / "server.pem"
    for path, certificate in zip(paths, found):
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    with open(paths[1], "ab") as file:
        file.write(keys[1].private_bytes(serialization.Encoding.PEM, *private))
    return paths


@pytest.fixture
def https(moto: str, authority: tuple[Path, Path]) -> Iterator[str]:
    """The endpoint of moto behind TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority[1])
    proxy = s3.Proxy(moto, context)
    yield proxy.endpoint
    proxy.close()


@pytest.mark.parametrize("place", ["environment", "profile"])
def test_a_server_is_trusted_by_the_certificates_that_botocore_is_given(
    fresh: Path, https: str, authority: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    for name, value in s3.environment(https).items():
        monkeypatch.setenv(name, value)
    if place == "environment":
        monkeypatch.setenv("AWS_CA_BUNDLE", str(authority[0]))
    else:
        fresh.write_text(f"[default]\nca_bundle = {authority[0]}\n")
    bucket = Bucket(f"trusted-{place}")
    bucket.client.create_bucket(Bucket=bucket.name)
    if tuple(map(int, obstore.__version__.split(".")[:2])) < (0, 11):
        with pytest.raises(ConfigError, match="takes no certificates"):
            bucket.put("x", b"1")
        return
    bucket.put("x", b"1")
    assert [each.key for each in bucket.entries("")] == ["x"]
    assert bytes(bucket.get("x")) == b"1"


def test_a_server_of_an_unknown_authority_is_not_trusted(
    fresh: Path, https: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    del fresh
    for name, value in s3.environment(https).items():
        monkeypatch.setenv(name, value)
    bucket = Bucket("trusted", patience=replace(QUICK, attempts=1))
    for request in (lambda: list(bucket.entries("")), lambda: bucket.put("x", b"1"), lambda: bucket.delete("x")):
        with pytest.raises(ServiceError, match=r"s3://trusted/"):
            request()


def test_certificates_that_cannot_be_used_are_named_before_any_request(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del fresh
    for name, value in s3.environment("https://127.0.0.1:1").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "nowhere.pem"))
    with pytest.raises(ConfigError, match=r"nowhere\.pem: .*cannot be read: No such file") as caught:
        Connection("bucket", None, Patience())
    assert (caught.value.code, caught.value.path) == ("bad_certificates", str(tmp_path / "nowhere.pem"))

    (tmp_path / "x.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "x.pem"))
    connection = Connection("bucket", None, Patience())

    with pytest.raises(ConfigError, match=r"x\.pem"):
        _ = connection.stores

    # What obstore says before 0.11, from then on, and of something else.
    for message, found, hint in (
        ("Invalid key: root_certificate.", "takes no certificates", "pip install 'obstore>=0.11"),
        ("No certificates found in `root_certificate` input", "expected certificates in PEM", "authority"),
        ("builder error: InvalidCertificate(BadEncoding)", "expected certificates in PEM", "authority"),
    ):
        monkeypatch.setattr("obstore.store.S3Store", Mock(side_effect=ValueError(message)))
        with pytest.raises(ConfigError, match=found) as caught:
            _ = connection.stores
        assert caught.value.code == "bad_certificates"
        assert hint in (caught.value.hint or "")
    monkeypatch.setattr("obstore.store.S3Store", Mock(side_effect=ValueError("bad region")))
    with pytest.raises(ValueError, match="bad region"):
        _ = connection.stores
