"""Which session carries out a job, and what a local one takes from another."""

from __future__ import annotations

import os
from pathlib import Path

import boto3
import pytest

from fastinfer.errors import ConfigError
from fastinfer.sagemaker import LocalSession, MXNet, Session, Transformer
from tests.sagemaker.cloud import Cloud
from tests.sagemaker.conftest import VERSION
from tests.sagemaker.local_jobs import make_model, run

pytestmark = pytest.mark.usefixtures("local_root")


def test_s3_is_accessed_with_the_given_session(
    aws: Cloud, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = aws.make_bucket("local-tests")
    for path in source.rglob("*.csv"):
        aws.client("s3").upload_file(str(path), bucket, f"in/{path.relative_to(source)}")
    # Credentials that only the session knows reach the job's own process.
    given = boto3.Session(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"], region_name="us-west-2")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    model, session = make_model(tmp_path), Session(given)
    transformer = Transformer(model, 1, "local", output_path=f"s3://{bucket}/out", sagemaker_session=session)
    transformer.transform(f"s3://{bucket}/in", content_type="text/csv")
    expected = run(model, source, tmp_path / "out")
    found = {item.key: session.read(item.uri) for item in session.list_objects(f"s3://{bucket}/out/")}
    assert found == expected


def test_local_paths_and_local_sessions_are_not_for_jobs_on_aws(aws: Cloud, script: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="only instance_type='local' accepts local paths"):
        MXNet(script, role=aws.role, **VERSION).fit({"train": str(tmp_path)})
    with pytest.raises(ConfigError, match=r"a local session cannot run jobs on ml\.m4\.xlarge"):
        MXNet(script, sagemaker_session=LocalSession(), **VERSION)
    with pytest.raises(ConfigError, match=r"a local session cannot run jobs on ml\.m4\.xlarge"):
        Transformer("m", 1, "ml.m4.xlarge", sagemaker_session=LocalSession())
