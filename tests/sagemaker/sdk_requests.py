"""Makes the calls of test_requests.py with SageMaker's own SDK: `python sdk_requests.py CASES`, with boto3's usual variables.

CASES is JSON: `default_bucket`, and for each case the arguments of MXNet(), fit(), transformer() and transform().
"""

import functools
import json
import logging
import os
import sys
import time

import boto3
import sagemaker
import sagemaker.utils
from sagemaker.inputs import TrainingInput
from sagemaker.mxnet import MXNet

# The SDK checks the same configuration at every value that it asks of it, for three seconds a case. The session has done it.
sagemaker.utils.validate_sagemaker_config = lambda _: None
# Nor is botocore's file of all endpoints read again for each of them.
sagemaker.utils._botocore_resolver = functools.lru_cache(maxsize=None)(sagemaker.utils._botocore_resolver)


def channel(value):
    return TrainingInput(**value) if isinstance(value, dict) else value


def main():
    logging.disable(logging.WARNING)
    with open(sys.argv[1]) as file:
        plan = json.load(file)
    clients = boto3.Session()
    session = sagemaker.Session(
        clients,
        sagemaker_client=clients.client("sagemaker"),
        # The SDK would ask STS for the account, at an address of its own.
        default_bucket=plan["default_bucket"],
        # Nothing is read from the user's files, nothing is sent to AWS.
        sagemaker_config={"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}},
    )
    for name, case in plan["cases"].items():
        print(name, file=sys.stderr)
        os.chdir(case["folder"])
        estimator = MXNet(sagemaker_session=session, **case["estimator"])
        inputs = case["fit"].pop("inputs")
        if isinstance(inputs, dict):
            inputs = {name: channel(value) for name, value in inputs.items()}
        estimator.fit(inputs, wait=False, **case["fit"])
        job = estimator.latest_training_job.name
        while session.describe_training_job(job)["TrainingJobStatus"] == "InProgress":
            time.sleep(0.05)
        transformer = estimator.transformer(**case["transformer"])
        transformer.transform(wait=False, logs=False, **case["transform"])


if __name__ == "__main__":
    main()
