"""A small AWS on loopback: `python -m tests.sagemaker.cloud_server --python PYTHON --folder DIR`.

S3, CloudWatch Logs, IAM and STS are moto's. SageMaker's API is here, as far as training, models and batch transform go: each
request is held to the service's model (cloud_model.py) and its known rules, and jobs really run (cloud_jobs.py). Errors have
the codes and, where they are known from users' reports, the words of the service. Below /_cloud/ the tests steer it.

It prints a line of JSON when it is up, and ends, with all its jobs, when its standard input is closed.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from moto.moto_server import werkzeug_app
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import make_server

from tests.sagemaker import cloud_model
from tests.sagemaker.cloud_jobs import HOSTS, Job, Services, TrainingJob, TransformJob, keys_of, split_uri

ACCOUNT = "123456789012"
TARGET = "SageMaker."
JSON_TYPE = "application/x-amz-json-1.1"
# Registries of SageMaker's MXNet images, and what is in them.
IMAGE = re.compile(
    r"(763104351884|626614931356|780543022126|871362719292|364406365360|772153158452|907027046896|457447274322"
    r"|727897471807|380420809688|692866216735|503227376785|217643126080|914824155844|446045086412|442386744353"
    r"|886529160074|094389454867|204538143572)\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?"
    r"/mxnet-(?P<scope>training|inference):(1\.4\.1-(cpu|gpu)-py3|1\.6(\.0)?-(cpu|gpu)-py3|1\.7(\.0)?-(cpu|gpu)-py3"
    r"|1\.8(\.0)?-(cpu|gpu)-py37|1\.9(\.0)?-(cpu|gpu)-py38)"
)
OWN_IMAGE = re.compile(r"\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com/[a-z0-9/_-]+:[\w.-]+")
# For what this cloud cannot do: no word of the service's, and none that a client tries again.
OWN_FAULT = "TestCloudFault"
OWN_CREDENTIALS = {"aws_access_key_id": "AKIAIOSFODNN7CLOUD01", "aws_secret_access_key": "cloud"}


class Refused(Exception):
    """An error as the service answers it."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class SageMaker:
    """The API's operations, each a method of its name in snake case: request in, answer out."""

    def __init__(self, region: str) -> None:
        self.region = region
        self.services: Services
        self.iam: Any = None
        self.lock = threading.Lock()
        self.training: dict[str, TrainingJob] = {}
        self.transforms: dict[str, TransformJob] = {}
        self.models: dict[str, dict[str, Any]] = {}
        self.requests: list[dict[str, Any]] = []
        self.violations: list[str] = []
        self.faults: dict[str, list[tuple[str, str, int]]] = {}
        self.no_quota: set[str] = set()
        self.pretended_model: str | None = None

    # Training

    def create_training_job(self, request: dict[str, Any]) -> dict[str, Any]:
        name, resources = request["TrainingJobName"], request["ResourceConfig"]
        self._quota(resources["InstanceType"], "training job", resources["InstanceCount"])
        self._image(request["AlgorithmSpecification"].get("TrainingImage", ""), "training")
        self._role(request["RoleArn"])
        if resources["InstanceCount"] > len(HOSTS):
            raise Refused(OWN_FAULT, f"this cloud has {len(HOSTS)} hosts")
        stopping = request["StoppingCondition"]
        if request.get("EnableManagedSpotTraining"):
            wait = stopping.get("MaxWaitTimeInSeconds")
            if wait is None or wait < stopping.get("MaxRuntimeInSeconds", 86400):
                raise Refused(
                    "ValidationException",
                    "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to MaxRuntimeInSeconds",
                )
        elif "MaxWaitTimeInSeconds" in stopping:
            raise Refused("ValidationException", "MaxWaitTimeInSeconds requires EnableManagedSpotTraining to be true")
        for channel in request.get("InputDataConfig", ()):
            self._objects(channel["DataSource"]["S3DataSource"], request["RoleArn"])
        arn = self._arn("training-job", name)
        with self.lock:
            if name in self.training:
                raise Refused(
                    "ResourceInUse",
                    "Job name must be unique within an AWS account and region, and a training job with this name already"
                    f" exists ({arn})",
                )
            job = self.training[name] = TrainingJob(self.services, name, arn, request, self.pretended_model)
        job.thread.start()
        return {"TrainingJobArn": arn}

    def describe_training_job(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._training(request).describe()

    def stop_training_job(self, request: dict[str, Any]) -> dict[str, Any]:
        job = self._training(request)
        if job.status != "InProgress":
            raise Refused(
                "ValidationException", f"The request was rejected because the training job is in status {job.status}."
            )
        job.stop()
        return {}

    def _training(self, request: dict[str, Any]) -> TrainingJob:
        job = self.training.get(request["TrainingJobName"])
        if job is None:
            raise Refused("ValidationException", "Requested resource not found.")
        return job

    # Models

    def create_model(self, request: dict[str, Any]) -> dict[str, Any]:
        name, container = request["ModelName"], request.get("PrimaryContainer", {})
        self._image(container.get("Image", ""), "inference")
        if "ExecutionRoleArn" not in request:
            raise Refused("ValidationException", "Execution role is required to create a model.")
        self._role(request["ExecutionRoleArn"])
        bucket, key = split_uri(container.get("ModelDataUrl", ""))
        try:
            self.services.s3.head_object(Bucket=bucket, Key=key)
        except ClientError:
            raise Refused(
                "ValidationException", f"Could not find model data at {container.get('ModelDataUrl')}."
            ) from None
        arn = self._arn("model", name)
        with self.lock:
            if name in self.models:
                raise Refused("ValidationException", f'Cannot create already existing model "{arn}".')
            self.models[name] = {**request, "CreationTime": time.time(), "ModelArn": arn}
        return {"ModelArn": arn}

    def describe_model(self, request: dict[str, Any]) -> dict[str, Any]:
        facts = self._model(request["ModelName"])
        return {
            "EnableNetworkIsolation": False,
            **{name: value for name, value in facts.items() if name != "Tags"},
        }

    def delete_model(self, request: dict[str, Any]) -> dict[str, Any]:
        self._model(request["ModelName"])
        with self.lock:
            del self.models[request["ModelName"]]
        return {}

    def _model(self, name: str) -> dict[str, Any]:
        if name not in self.models:
            raise Refused("ValidationException", f'Could not find model "{self._arn("model", name)}".')
        return self.models[name]

    # Batch transform

    def create_transform_job(self, request: dict[str, Any]) -> dict[str, Any]:
        name, resources = request["TransformJobName"], request["TransformResources"]
        self._quota(resources["InstanceType"], "transform job", resources["InstanceCount"])
        model = self._model(request["ModelName"])
        data = request["TransformInput"]
        if request.get("BatchStrategy") == "SingleRecord" and data.get("SplitType", "None") == "None":
            raise Refused("ValidationException", "BatchStrategy SingleRecord requires a SplitType other than None")
        if request.get("MaxConcurrentTransforms", 1) * request.get("MaxPayloadInMB", 6) > 100:
            raise Refused("ValidationException", "MaxConcurrentTransforms * MaxPayloadInMB must not exceed 100 MB")
        for unknown in ("DataProcessing", "DataCaptureConfig"):
            if unknown in request and self.pretended_model is None:
                raise Refused(OWN_FAULT, f"this cloud runs no {unknown}")
        if data.get("SplitType", "None") not in ("None", "Line"):
            raise Refused(OWN_FAULT, f"this cloud does not split by {data['SplitType']}")
        self._objects(data["DataSource"]["S3DataSource"], model["ExecutionRoleArn"])
        arn = self._arn("transform-job", name)
        with self.lock:
            if name in self.transforms:
                raise Refused(
                    "ResourceInUse",
                    "Job name must be unique within an AWS account and region, and a job with this name already exists"
                    f" ({arn})",
                )
            job = self.transforms[name] = TransformJob(self.services, name, arn, request, model, self.pretended_model)
        job.thread.start()
        return {"TransformJobArn": arn}

    def describe_transform_job(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._transform(request).describe()

    def stop_transform_job(self, request: dict[str, Any]) -> dict[str, Any]:
        job = self._transform(request)
        if job.status != "InProgress":
            raise Refused(
                "ValidationException", f"The request was rejected because the transform job is in status {job.status}."
            )
        job.stop()
        return {}

    def _transform(self, request: dict[str, Any]) -> TransformJob:
        job = self.transforms.get(request["TransformJobName"])
        if job is None:
            raise Refused(
                "ValidationException", f"Could not find requested job with name: {request['TransformJobName']}"
            )
        return job

    # What operations share

    def _arn(self, kind: str, name: str) -> str:
        return f"arn:aws:sagemaker:{self.region}:{ACCOUNT}:{kind}/{name}"

    def _quota(self, instance_type: str, use: str, count: int) -> None:
        if instance_type in self.no_quota:
            raise Refused(
                "ResourceLimitExceeded",
                f"The account-level service limit '{instance_type} for {use} usage' is 0 Instances, with current utilization of"
                f" 0 Instances and a request delta of {count} Instances. Please use AWS Service Quotas to request an increase"
                " for this quota.",
            )

    def _image(self, image: str, scope: str) -> None:
        if self.pretended_model and OWN_IMAGE.fullmatch(image):
            return  # nothing of it is run
        match = IMAGE.fullmatch(image)
        if match is None or match["scope"] != scope or match["region"] != self.region:
            raise Refused("ValidationException", f"Requested image {image} not found.")

    def _role(self, arn: str) -> None:
        with self.lock:
            known = {role["Arn"] for role in self.iam.list_roles()["Roles"]}
        if arn not in known:
            raise Refused(
                "ValidationException",
                f"Could not assume role {arn}. Please ensure that the role exists and allows principal"
                " 'sagemaker.amazonaws.com' to assume the role.",
            )

    def _objects(self, source: dict[str, Any], role: str) -> None:
        uri = source["S3Uri"]
        try:
            found = keys_of(self.services.s3, source["S3DataType"], uri)
        except ClientError:
            found = []
        if not found:
            bucket = split_uri(uri)[0]
            raise Refused(
                "ValidationException",
                f'No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure that the bucket exists in'
                f" the selected region ({self.region}), that objects exist under that S3 prefix, and that the role"
                f' "{role}" has "s3:ListBucket" permissions on bucket "{bucket}".',
            )

    # One call

    def answer(self, name: str, body: bytes) -> dict[str, Any]:
        """What the service answers to an operation.

        Raises:
            Refused: an error.
        """
        method: Callable[[dict[str, Any]], dict[str, Any]] | None = getattr(self, _snake(name), None)
        if method is None:
            raise Refused(OWN_FAULT, f"this cloud has no {name}")
        request = json.loads(body or b"{}")
        with self.lock:
            self.requests.append({"operation": name, "request": request})
            faults = self.faults.get(name) or self.faults.get("*")
            fault = faults.pop(0) if faults else None
        if fault:
            raise Refused(*fault)
        model = cloud_model.operation(name)
        found = list(cloud_model.violations(model.input_shape, request)) if model.input_shape else []
        if found:
            with self.lock:
                self.violations += [f"{name}: {violation}" for violation in found]
            raise Refused(
                "ValidationException",
                f"{len(found)} validation error{'s' if len(found) > 1 else ''} detected: {'; '.join(found)}",
            )
        reply = method(request)
        if model.output_shape:
            # What is answered here is held to the model as well; but no job has artifacts before it has trained.
            wrong = [
                violation
                for violation in cloud_model.violations(model.output_shape, reply)
                if "null at 'modelArtifacts'" not in violation
            ]
            if wrong:
                raise Refused(OWN_FAULT, f"this cloud answers {name} wrongly: {'; '.join(wrong)}")
        return reply

    def jobs(self) -> Iterable[Job]:
        with self.lock:
            return [*self.training.values(), *self.transforms.values()]

    def stop_all(self) -> None:
        for job in self.jobs():
            job.stop_asked.set()
        for job in self.jobs():
            job.thread.join()

    def steer(self, what: str, order: dict[str, Any]) -> Any:
        """What the tests ask of the cloud itself."""
        with self.lock:
            if what == "requests":
                return self.requests
            if what == "violations":
                return self.violations
            if what == "reset":
                self.requests, self.violations, self.faults, self.no_quota = [], [], {}, set()
                self.pretended_model = None
            elif what == "fault":
                faults = self.faults.setdefault(order["operation"], [])
                faults += [(order["code"], order["message"], order["status"])] * order["times"]
            elif what == "no-quota":
                self.no_quota.add(order["instance_type"])
            elif what == "pretend":
                self.pretended_model = order["model"]
            elif what == "interrupt":
                self.training[order["name"]].interrupt_asked.set()
            else:
                raise KeyError(what)
        return None


class Application:
    """WSGI: SageMaker's operations and the tests' steering here, all else to moto."""

    def __init__(self, sagemaker: SageMaker) -> None:
        self.sagemaker = sagemaker
        self.moto = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        target, path = environ.get("HTTP_X_AMZ_TARGET", ""), environ.get("PATH_INFO", "")
        if target.startswith(TARGET):
            return self._service(target[len(TARGET) :], _body(environ), start_response)
        if path.startswith("/_cloud/"):
            answer = self.sagemaker.steer(path[len("/_cloud/") :], json.loads(_body(environ) or b"{}"))
            return _respond(start_response, 200, answer, "application/json")
        expected = environ.get("HTTP_X_AMZ_EXPECTED_BUCKET_OWNER")
        if expected and _bucket_owner(path.split("/")[1]) not in (None, expected):
            # moto does not look at whose a bucket is.
            start_response("403 Forbidden", [("Content-Type", "application/xml")])
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [b"<Error><Code>AccessDenied</Code></Error>"]
        return self.moto(environ, start_response)

    def _service(self, operation: str, body: bytes, start_response: Any) -> Iterable[bytes]:
        try:
            return _respond(start_response, 200, self.sagemaker.answer(operation, body), JSON_TYPE)
        except Refused as refused:
            answer = {"__type": refused.code, "message": str(refused)}
            return _respond(start_response, refused.status, answer, JSON_TYPE)


def _bucket_owner(name: str) -> str | None:
    owners = [account for account, partitions in s3_backends.items() if name in partitions["aws"].buckets]
    return owners[0] if owners else None


def _body(environ: dict[str, Any]) -> bytes:
    return environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))


def _respond(start_response: Any, status: int, answer: Any, content_type: str) -> Iterable[bytes]:
    content = json.dumps(answer).encode()
    headers = [
        ("Content-Type", content_type),
        ("Content-Length", str(len(content))),
        ("x-amzn-RequestId", str(uuid.uuid4())),
    ]
    start_response(f"{status} {'OK' if status == 200 else 'Error'}", headers)
    return [content]


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--python", type=Path, required=True, help="of the environment with the containers' toolkits")
    parser.add_argument("--folder", type=Path, required=True, help="for the folders of jobs")
    parser.add_argument("--region", required=True)
    arguments = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)

    sagemaker = SageMaker(arguments.region)
    # Of moto 5.2; before it the standard one served.
    handler = getattr(werkzeug_app, "MotoRequestHandler", None)
    server = make_server("127.0.0.1", 0, Application(sagemaker), threaded=True, request_handler=handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    session = boto3.Session(**OWN_CREDENTIALS, region_name=arguments.region)
    config = Config(retries={"mode": "standard"}, max_pool_connections=32)
    clients = {name: session.client(name, endpoint_url=endpoint, config=config) for name in ("s3", "logs", "iam")}
    sagemaker.iam = clients["iam"]
    sagemaker.services = Services(
        clients["s3"],
        clients["logs"],
        arguments.python,
        arguments.folder,
        {
            "AWS_REGION": arguments.region,
            "AWS_DEFAULT_REGION": arguments.region,
            "S3_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": OWN_CREDENTIALS["aws_access_key_id"],
            "AWS_SECRET_ACCESS_KEY": OWN_CREDENTIALS["aws_secret_access_key"],
        },
    )
    print(json.dumps({"endpoint": endpoint}), flush=True)
    sys.stdin.read()
    sagemaker.stop_all()
    server.shutdown()


if __name__ == "__main__":
    main()
