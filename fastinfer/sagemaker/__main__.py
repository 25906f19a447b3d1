"""``python -m fastinfer.sagemaker train|transform|status``: jobs on AWS, or on this machine, from the command line."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Sequence
from typing import Any

from .._command import run_command
from ..errors import ConfigError
from . import jobs
from .local import LocalSession
from .mxnet import LOCAL_INFERENCE, MXNet
from .requests import model_request
from .session import Session, get_execution_role
from .transformer import Transformer, choose_session, run_locally

EPILOG = (
    "Exit codes: 0 done; 1 the job or its data failed; 2 an option, or AWS, refused; 3 the model; 4 an output; "
    "130 interrupted."
)


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, found {text!r}")
    return name, value


def _hyperparameter(text: str) -> tuple[str, Any]:
    """NAME=VALUE; a value that is JSON is that, any other is text."""
    name, value = _pair(text)
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fastinfer.sagemaker", description="SageMaker jobs with MXNet.", epilog=EPILOG
    )
    commands = parser.add_subparsers(dest="command", required=True)

    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print what the service says of the job as JSON on stdout")
    shared.add_argument("--quiet", action="store_true", help="print nothing but errors")
    shared.add_argument("--region", help="of AWS")
    shared.add_argument("--profile", help="of AWS's configuration")
    shared.add_argument("--local", action="store_true", help="a job on this machine: --instance-type local")

    waiting = argparse.ArgumentParser(add_help=False)
    waiting.add_argument("--no-wait", dest="wait", action="store_false", help="do not wait for the job's end")
    waiting.add_argument("--stop-on-interrupt", action="store_true", help="Ctrl-C also stops the job")
    waiting.add_argument("--role", help="ARN or name (default: $SAGEMAKER_ROLE, the notebook's, the credentials')")
    waiting.add_argument("--instance-type", default="ml.m4.xlarge", metavar="TYPE")
    waiting.add_argument("--instance-count", type=int, default=1, metavar="N")
    waiting.add_argument("--framework-version", metavar="VERSION", help="of MXNet: 1.4.1 to 1.9.0")
    waiting.add_argument("--py-version", metavar="VERSION", help="such as py38")
    waiting.add_argument("--output", metavar="PLACE", help="where results go (default: the default bucket)")

    train = commands.add_parser("train", parents=[shared, waiting], help="train a script", epilog=EPILOG)
    train.add_argument("entry_point", metavar="SCRIPT")
    train.add_argument("--channel", type=_pair, action="append", default=[], metavar="NAME=PLACE")
    train.add_argument("--hyperparameter", type=_hyperparameter, action="append", default=[], metavar="NAME=VALUE")
    train.add_argument("--source-dir", metavar="DIR", help="a folder that goes with the script")
    train.add_argument("--code-location", metavar="PLACE", help="where the code goes")

    transform = commands.add_parser(
        "transform", parents=[shared, waiting], help="run a model over objects", epilog=EPILOG
    )
    transform.add_argument("input", metavar="IN", help="a place: s3://..., or here for a local job")
    transform.add_argument("--model", required=True, metavar="PLACE", help="a model.tar.gz, or the name of a model")
    transform.add_argument("--content-type", default="text/csv")
    transform.add_argument("--split-type", choices=["None", "Line"])
    transform.add_argument("--strategy", choices=["MultiRecord", "SingleRecord"])
    transform.add_argument("--assemble-with", choices=["None", "Line"])
    transform.add_argument("--accept", metavar="TYPE")

    status = commands.add_parser("status", parents=[shared], help="what has become of a job", epilog=EPILOG)
    status.add_argument("name", metavar="JOB")
    status.add_argument("--wait", action="store_true", help="wait for its end, and print its logs")
    return parser


def _session(arguments: argparse.Namespace) -> Session:
    local = arguments.local or run_locally(getattr(arguments, "instance_type", ""))
    # Words go to stderr, data to stdout.
    stream = io.StringIO() if arguments.quiet else sys.stderr
    session = Session(
        region=arguments.region,
        profile=arguments.profile,
        stop_on_interrupt=getattr(arguments, "stop_on_interrupt", False),
        stream=stream,
    )
    return LocalSession(session) if local else session


def _role(arguments: argparse.Namespace, session: Session) -> str:
    return arguments.role or get_execution_role(session)


def _train(arguments: argparse.Namespace, session: Session) -> tuple[jobs.JobKind, str]:
    estimator = MXNet(
        arguments.entry_point,
        role=_role(arguments, session),
        output_path=arguments.output,
        code_location=arguments.code_location,
        instance_count=arguments.instance_count,
        instance_type="local" if session.local_mode else arguments.instance_type,
        framework_version=arguments.framework_version,
        py_version=arguments.py_version,
        hyperparameters=dict(arguments.hyperparameter),
        source_dir=arguments.source_dir,
        sagemaker_session=session,
    )
    estimator.fit(dict(arguments.channel) or None, wait=arguments.wait)
    assert estimator.latest_training_job is not None
    if not arguments.quiet:
        print(f"model: {estimator.model_data}", file=sys.stderr)
    return jobs.TRAINING, estimator.latest_training_job


def _transform(arguments: argparse.Namespace, session: Session) -> tuple[jobs.JobKind, str]:
    instance_type = "local" if session.local_mode else arguments.instance_type
    name = arguments.model
    if "/" in name or name.endswith(".tar.gz"):
        name = _make_model(arguments, session, instance_type)
    transformer = Transformer(
        name,
        arguments.instance_count,
        instance_type,
        strategy=arguments.strategy,
        assemble_with=arguments.assemble_with,
        output_path=arguments.output,
        accept=arguments.accept,
        sagemaker_session=session,
    )
    transformer.transform(
        arguments.input, content_type=arguments.content_type, split_type=arguments.split_type, wait=arguments.wait
    )
    assert transformer.latest_transform_job is not None
    if not arguments.quiet:
        print(f"output: {transformer.output_path}", file=sys.stderr)
    return jobs.TRANSFORM, transformer.latest_transform_job


def _make_model(arguments: argparse.Namespace, session: Session, instance_type: str) -> str:
    """A model of an archive as it is."""
    from .aws import told
    from .images import INFERENCE, base_name, image_uri

    image = LOCAL_INFERENCE
    if not session.local_mode:
        image = image_uri(
            INFERENCE,
            session.boto_region_name,
            framework_version=arguments.framework_version,
            py_version=arguments.py_version,
            instance_type=instance_type,
        )
    name = jobs.make_name(base_name(image))
    role = _role(arguments, session)
    request = model_request(name, role if session.local_mode else session.expand_role(role), image, arguments.model, {})
    with told(f"making the model {name}"):
        session.sagemaker_client.create_model(**request)
    return name


def _run(argv: Sequence[str] | None) -> int:
    arguments = _parser().parse_args(argv)
    session = _session(arguments)
    if arguments.command == "status":
        kind, facts = jobs.find(choose_session(session, "local" if session.local_mode else ""), arguments.name)
        if arguments.wait:
            facts = jobs.wait(session, kind, arguments.name)
        name = arguments.name
    else:
        kind, name = (_train if arguments.command == "train" else _transform)(arguments, session)
        facts = jobs.describe(session, kind, name)
    if arguments.json:
        print(json.dumps(facts, default=str))
    elif arguments.command == "status":
        reason = facts.get("FailureReason")
        print(f"{kind.word} {name}: {facts[kind.status]}" + (f": {reason}" if reason else ""))
    if facts[kind.status] == "Failed":
        raise jobs.JobFailed(f"the {kind.word} failed: {facts.get('FailureReason')}", path=name)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_run, argv)


__all__ = ["ConfigError", "main"]

if __name__ == "__main__":
    sys.exit(main())
