"""The API's calls for local jobs: what is refused, and what a job's description says."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from fastinfer.errors import ConfigError, ServiceError
from fastinfer.sagemaker import JobFailed, MXNet, Transformer, jobs
from fastinfer.sagemaker.logs import TRAINING
from tests.conftest import wait_until
from tests.sagemaker.conftest import ENTRY_POINT
from tests.sagemaker.local_jobs import make_model, run, write_script

pytestmark = pytest.mark.usefixtures("local_root")


def test_what_local_jobs_do_not_support_is_refused_by_name(source: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path)
    with pytest.raises(ConfigError, match="does not support DataProcessing"):
        run(model, source, tmp_path / "out", join_source="Input")
    for options, word in (
        ({"instance_count": 2}, "instance_count must be 1"),
        ({"checkpoint_s3_uri": "s3://a/b"}, "does not support CheckpointConfig"),
        ({"enable_network_isolation": True}, "does not support EnableNetworkIsolation"),
        ({"subnets": ["s"], "security_group_ids": ["g"]}, "does not support VpcConfig"),
        ({"use_spot_instances": True}, "does not support EnableManagedSpotTraining"),
    ):
        with pytest.raises(ConfigError, match=word):
            MXNet(str(ENTRY_POINT), instance_type="local", **options).fit({"train": str(source)})
    for options, word in (
        ({"compression_type": "Gzip"}, "CompressionType"),
        ({"split_type": "RecordIO"}, "SplitType"),
        ({"data_type": "ManifestFile"}, "S3DataType"),
        ({"input_filter": "$[1:]"}, "DataProcessing"),
        ({"output_filter": "$[0]"}, "DataProcessing"),
        ({"model_client_config": {"InvocationsMaxRetries": 1}}, "ModelClientConfig"),
    ):
        with pytest.raises(ConfigError, match=f"does not support {word}"):
            Transformer(model, 1, "local").transform(str(source), content_type="text/csv", **options)
    with pytest.raises(ConfigError, match="instance_count must be 1"):
        Transformer(model, 2, "local").transform(str(source))
    with pytest.raises(ConfigError, match="only instance_type='local' accepts local paths"):
        Transformer(model, 1, "ml.m4.xlarge", output_path="s3://a/b").transform(str(source))


def test_a_killed_or_stopped_job_has_ended(tmp_path: Path, local_root: Path) -> None:
    begun = tmp_path / "begun"
    text = f"import time; open({str(begun)!r}, 'w').close(); time.sleep(1000)"
    estimator = MXNet(write_script(tmp_path, text), instance_type="local")
    for name, end in (("killed", "job_failed"), ("stopped", "job_stopped")):
        estimator.fit(wait=False, job_name=name)
        if end == "job_stopped":
            jobs.stop(estimator.sagemaker_session, TRAINING, name)
        else:
            wait_until(begun.exists)
            pid = int((local_root / "training-jobs" / name / "process").read_text().split()[0])
            os.killpg(pid, signal.SIGKILL)
        with pytest.raises(JobFailed) as caught:
            estimator.wait()
        assert caught.value.code == end
        if end == "job_failed":
            assert "the job's process exited without reporting a status" in str(caught.value)
    with pytest.raises(ServiceError, match="already"):
        estimator.fit(job_name="killed")
