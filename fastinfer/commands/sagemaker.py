"""``fastinfer sagemaker train|transform|status``: jobs on AWS, or on this machine, from the command line.

A job's description (``--json``) and status go to stdout, progress and logs to stderr.
"""

from __future__ import annotations

import argparse
import functools
import io
import json
import sys
from collections.abc import Sequence
from typing import Any

from ..errors import ConfigError
from ..models.module import PROGRAM_VARIABLE
from ..sagemaker import jobs
from ..sagemaker.estimator import DAY_S
from ..sagemaker.image_uris import INFERENCE, LOCAL_INFERENCE, base_name, image_uri
from ..sagemaker.local.session import LocalSession, run_locally
from ..sagemaker.logs import TRAINING, TRANSFORM
from ..sagemaker.mxnet import MXNet
from ..sagemaker.requests import SERVED_CODE, model_request
from ..sagemaker.session import Session, get_execution_role
from ..sagemaker.transformer import Transformer
from ..sagemaker.uploads import upload_servable
from ..storage.aws import scrub, translating_errors
from ._run import run_command

PROG = "fastinfer sagemaker"
EPILOG = (
    "Exit codes: 0 done; 1 the job or its data failed; 2 an option is wrong; 3 the model cannot be used; 4 a result cannot be "
    "written; 6 AWS refused or could not be reached; 130 interrupted."
)


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, found {text!r}")
    return name, value


def _hyperparameter(text: str) -> tuple[str, Any]:
    """NAME=VALUE; the value is JSON, else text."""
    name, value = _pair(text)
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog, description="Run SageMaker jobs with MXNet, on AWS or on this machine.", epilog=EPILOG
    )
    commands = parser.add_subparsers(dest="command", required=True)

    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print the job's description as JSON on stdout")
    shared.add_argument("--quiet", action="store_true", help="print only errors")
    shared.add_argument("--region", help="the AWS region")
    shared.add_argument("--profile", help="a profile of the AWS configuration")
    shared.add_argument(
        "--local", action="store_true", help="run the job on this machine; the same as --instance-type local"
    )

    shared.add_argument(
        "--poll",
        type=float,
        metavar="SECONDS",
        help="longest time between two status requests (default: 5; for local jobs 0.2)",
    )

    waiting = argparse.ArgumentParser(add_help=False)
    waiting.add_argument(
        "--wait",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="wait until the job ends (default)",
    )
    waiting.add_argument(
        "--attach", metavar="JOB", help="wait for this job, which was started before, instead of starting one"
    )
    waiting.add_argument("--stop-on-interrupt", action="store_true", help="Ctrl-C also stops the job")
    waiting.add_argument(
        "--role",
        help="ARN or name of a role (default: $SAGEMAKER_ROLE, the notebook's, the credentials')",
    )
    waiting.add_argument(
        "--instance-type", default="ml.m4.xlarge", metavar="TYPE", help="an instance type of AWS, or local"
    )
    waiting.add_argument("--instance-count", type=int, default=1, metavar="N")
    waiting.add_argument("--framework-version", metavar="VERSION", help="the version of MXNet, 1.4.1 to 1.9.0")
    waiting.add_argument("--py-version", metavar="VERSION", help="the version of Python, such as py38")
    waiting.add_argument("--image-uri", metavar="IMAGE", help="use this container image instead of SageMaker's")
    waiting.add_argument("--output", metavar="URI", help="the results (default: in the default bucket)")
    waiting.add_argument("--job-name", metavar="NAME", help="default: the image's name and the time")
    waiting.add_argument("--tag", type=_pair, action="append", default=[], metavar="NAME=VALUE")
    waiting.add_argument("--environment", type=_pair, action="append", default=[], metavar="NAME=VALUE")
    waiting.add_argument("--output-kms-key", metavar="KEY")
    waiting.add_argument("--volume-kms-key", metavar="KEY")

    train = commands.add_parser("train", parents=[shared, waiting], help="train a script", epilog=EPILOG)
    train.add_argument("entry_point", metavar="SCRIPT", nargs="?", help="the training script; omitted with --attach")
    train.add_argument(
        "--channel", type=_pair, action="append", default=[], metavar="NAME=URI", help="an input channel"
    )
    train.add_argument("--hyperparameter", type=_hyperparameter, action="append", default=[], metavar="NAME=VALUE")
    train.add_argument("--source-dir", metavar="DIR", help="a folder to upload with the script")
    train.add_argument(
        "--dependency", action="append", default=[], metavar="PATH", help="a file or folder to upload as well"
    )
    train.add_argument("--code-location", metavar="URI", help="the uploaded code")
    train.add_argument("--max-code-bytes", type=int, metavar="N", help="the largest size of the code")
    train.add_argument(
        "--max-run", type=int, default=DAY_S, metavar="SECONDS", help="the longest duration (default: a day)"
    )
    train.add_argument("--spot", action="store_true", help="AWS may interrupt the training, for a lower price")
    train.add_argument(
        "--max-wait", type=int, metavar="SECONDS", help="longest duration of a spot training, with waiting"
    )
    train.add_argument("--checkpoint-s3-uri", metavar="URI", help="the script's checkpoints")
    train.add_argument(
        "--checkpoint-local-path", metavar="DIR", help="the folder that the script writes checkpoints to"
    )
    train.add_argument("--volume-size", type=int, default=30, metavar="GB")
    train.add_argument("--subnet", action="append", metavar="ID")
    train.add_argument("--security-group", action="append", metavar="ID")

    transform = commands.add_parser(
        "transform", parents=[shared, waiting], help="run a model over objects", epilog=EPILOG
    )
    transform.add_argument("input", metavar="IN", nargs="?", help="the objects: s3://..., or a path for a local job")
    transform.add_argument("--model", metavar="MODEL", help="the URI of a model.tar.gz, or the name of a model")
    transform.add_argument(
        "--training-job", metavar="JOB", help="the model that this training made, with its code, in place of --model"
    )
    transform.add_argument("--program", metavar="NAME", help="with --model: the module below its code/ that serves")
    transform.add_argument("--content-type", default="text/csv")
    transform.add_argument("--compression-type", choices=["None", "Gzip"])
    transform.add_argument("--split-type", choices=["None", "Line", "RecordIO", "TFRecord"])
    transform.add_argument("--strategy", choices=["MultiRecord", "SingleRecord"])
    transform.add_argument("--assemble-with", choices=["None", "Line"])
    transform.add_argument("--accept", metavar="TYPE")
    transform.add_argument("--max-payload", type=int, metavar="MB")
    transform.add_argument("--max-concurrent-transforms", type=int, metavar="N")
    transform.add_argument("--input-filter", metavar="JSONPATH")
    transform.add_argument("--output-filter", metavar="JSONPATH")
    transform.add_argument("--join-source", choices=["None", "Input"])

    status = commands.add_parser("status", parents=[shared], help="print a job's status", epilog=EPILOG)
    status.add_argument("name", metavar="JOB")
    status.add_argument("--wait", action="store_true", help="wait until it ends, and print its log")
    return parser


def _session(arguments: argparse.Namespace) -> Session:
    local = arguments.local or run_locally(getattr(arguments, "instance_type", ""))
    stream = io.StringIO() if arguments.quiet else sys.stderr
    session = Session(
        region=arguments.region,
        profile=arguments.profile,
        stop_on_interrupt=getattr(arguments, "stop_on_interrupt", False),
        stream=stream,
    )
    if local:
        session = LocalSession(session)
    if arguments.poll is not None:
        session.poll_seconds = arguments.poll
    return session


def _required(value: Any, name: str) -> Any:
    if value is None:
        raise ConfigError(f"{name} is required", code="bad_option", hint="name it, or --attach JOB")
    return value


def _role(arguments: argparse.Namespace, session: Session) -> str:
    return arguments.role or get_execution_role(session)


def _train(arguments: argparse.Namespace, session: Session) -> str:
    entry_point = _required(arguments.entry_point, "SCRIPT")
    estimator = MXNet(
        entry_point,
        role=_role(arguments, session),
        output_path=arguments.output,
        code_location=arguments.code_location,
        instance_count=arguments.instance_count,
        instance_type="local" if session.local_mode else arguments.instance_type,
        framework_version=arguments.framework_version,
        py_version=arguments.py_version,
        image_uri=arguments.image_uri,
        hyperparameters=dict(arguments.hyperparameter),
        source_dir=arguments.source_dir,
        dependencies=arguments.dependency,
        max_code_bytes=arguments.max_code_bytes,
        max_run=arguments.max_run,
        max_wait=arguments.max_wait,
        use_spot_instances=arguments.spot,
        checkpoint_s3_uri=arguments.checkpoint_s3_uri,
        checkpoint_local_path=arguments.checkpoint_local_path,
        volume_size=arguments.volume_size,
        subnets=arguments.subnet,
        security_group_ids=arguments.security_group,
        output_kms_key=arguments.output_kms_key,
        volume_kms_key=arguments.volume_kms_key,
        environment=dict(arguments.environment),
        tags=dict(arguments.tag) or None,
        sagemaker_session=session,
    )
    estimator.fit(dict(arguments.channel) or None, wait=arguments.wait, job_name=arguments.job_name)
    if arguments.wait:
        session.say(f"model: {estimator.model_data}")
    return str(estimator.latest_training_job)


def _transform(arguments: argparse.Namespace, session: Session) -> str:
    source = _required(arguments.input, "IN")
    if (arguments.model is None) == (arguments.training_job is None):
        raise ConfigError("one of --model and --training-job is required", code="bad_option")
    instance_type = "local" if session.local_mode else arguments.instance_type
    if arguments.training_job is not None:
        estimator = MXNet.attach(arguments.training_job, session, local=session.local_mode)
        name = estimator.transformer(1, instance_type, role=arguments.role).model_name
    elif "/" in arguments.model or arguments.model.endswith(".tar.gz"):
        name = _make_model(arguments, session, instance_type)
    else:
        name = arguments.model
    transformer = Transformer(
        name,
        arguments.instance_count,
        instance_type,
        strategy=arguments.strategy,
        assemble_with=arguments.assemble_with,
        output_path=arguments.output,
        output_kms_key=arguments.output_kms_key,
        volume_kms_key=arguments.volume_kms_key,
        accept=arguments.accept,
        max_concurrent_transforms=arguments.max_concurrent_transforms,
        max_payload=arguments.max_payload,
        tags=dict(arguments.tag) or None,
        env=dict(arguments.environment),
        sagemaker_session=session,
    )
    transformer.transform(
        source,
        content_type=arguments.content_type,
        compression_type=arguments.compression_type,
        split_type=arguments.split_type,
        job_name=arguments.job_name,
        input_filter=arguments.input_filter,
        output_filter=arguments.output_filter,
        join_source=arguments.join_source,
        wait=arguments.wait,
    )
    session.say(f"output: {transformer.output_path}")
    return str(transformer.latest_transform_job)


def _make_model(arguments: argparse.Namespace, session: Session, instance_type: str) -> str:
    """Creates a model of an archive; returns its name."""
    image = arguments.image_uri or LOCAL_INFERENCE
    if not session.local_mode and arguments.image_uri is None:
        image = image_uri(
            INFERENCE,
            session.boto_region_name,
            framework_version=arguments.framework_version,
            py_version=arguments.py_version,
            instance_type=instance_type,
        )
    name = jobs.make_name(base_name(image))
    role = _role(arguments, session)
    if not session.local_mode:
        role = session.expand_role(role)
    model, program = arguments.model, arguments.program
    if not (session.local_mode or program):
        try:
            model, program = upload_servable(session, model, name)
        except ConfigError as error:
            raise error.at(hint="--program NAME") from error
    environment = {PROGRAM_VARIABLE: program, "SAGEMAKER_SUBMIT_DIRECTORY": SERVED_CODE} if program else {}
    request = model_request(name, role, image, model, environment)
    with translating_errors(f"creating the model {name}"):
        session.sagemaker_client.create_model(**request)
    return name


def _run(argv: Sequence[str] | None, *, prog: str) -> int:
    arguments = _parser(prog).parse_args(argv)
    session = _session(arguments)
    if arguments.command == "status":
        name = arguments.name
        kind, facts = jobs.find(session, name)
        if arguments.wait:
            facts = jobs.wait(session, kind, name)
    else:
        kind = TRAINING if arguments.command == "train" else TRANSFORM
        if arguments.attach is not None:
            name = arguments.attach
            facts = jobs.wait(session, kind, name) if arguments.wait else jobs.describe(session, kind, name)
        else:
            name = (_train if arguments.command == "train" else _transform)(arguments, session)
            facts = jobs.describe(session, kind, name)
    if arguments.json:
        print(scrub(json.dumps(facts, default=str)))
    elif arguments.command == "status":
        reason = facts.get("FailureReason")
        print(f"{kind.word} {name}: {facts[kind.status]}" + (f": {scrub(str(reason))}" if reason else ""))
    if facts[kind.status] == "Failed":
        raise jobs.failure(kind, name, facts)
    return 0


def main(argv: Sequence[str] | None = None, prog: str = PROG) -> int:
    """The command; returns its exit code."""
    return run_command(functools.partial(_run, prog=prog), argv)
