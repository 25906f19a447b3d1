"""``fastinfer sagemaker train|transform|status``: jobs on AWS, or on this machine, from the command line.

A job's description (``--json``) and status go to stdout, progress and logs to stderr.
"""

from __future__ import annotations

import argparse
import functools
import io
import json
import os
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from ..errors import ConfigError, FastinferError
from ..models.code import PROGRAM_VARIABLE
from ..sagemaker import jobs
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
from ._sagemaker_parser import make_parser

PROG = "fastinfer sagemaker"
# What messages of fastinfer.sagemaker call their arguments, and what they are here. The first that fits is replaced first.
SPELLINGS = {
    "instance_type='local'": "--local",
    "instance_count": "--instance-count",
    "pass role=get_execution_role(), an ARN": "--role with an ARN",
    "pass role=...": "--role NAME",
    "pass it as role=...": "pass it as --role",
    "role=...": "--role NAME",
    "security_group_ids": "--security-group",
    "subnets": "--subnet",
    "source_dir": "--source-dir",
    "entry_point": "SCRIPT",
    "max_code_bytes": "--max-code-bytes",
}


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
    elif _is_file(arguments.model, session):
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


def _is_file(model: str, session: Session) -> bool:
    """Whether --model is an archive; else it is the name of a model.

    Raises:
        ConfigError: it is a folder, which a job does not take.
    """
    here = (session.local_mode or "/" in model) and os.path.isdir(model)
    if here:
        raise ConfigError(
            "--model is a folder; a job takes a model.tar.gz",
            path=model,
            hint=f"tar -czf model.tar.gz -C {shlex.quote(model)} . packs it; `fastinfer transform` takes the folder as it is",
        )
    return "/" in model or model.endswith(".tar.gz") or (session.local_mode and os.path.isfile(model))


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
    arguments = make_parser(prog).parse_args(argv)
    session = _session(arguments)
    try:
        return _run_in(session, arguments)
    except ConfigError as error:
        raise _spell_as_typed(error) from error
    except jobs.JobFailed as error:
        if session.local_mode and arguments.wait and not arguments.quiet:
            raise _without_what_was_shown(error, session) from error
        raise


def _spell_as_typed(error: ConfigError) -> ConfigError:
    """The same error with the names of options as this command has them."""
    message, hint = error.message, error.hint
    for keyword, typed in SPELLINGS.items():
        message, hint = message.replace(keyword, typed), hint and hint.replace(keyword, typed)
    return ConfigError(message, code=error.code, path=error.path, hint=hint)


def _without_what_was_shown(error: jobs.JobFailed, session: Session) -> FastinferError:
    """The error of a local job; without its reason where that is the last line of the log, which was printed already."""
    name = str(error.path)
    kind, facts = jobs.find(session, name)
    *_, last = [line.strip() for line in session.logs(kind, name).lines()] or [""]
    if last == f"error: {facts.get('FailureReason')}":
        return jobs.JobFailed(f"the {kind.word} failed; its log says why", code=error.code, path=name)
    return error


def _run_in(session: Session, arguments: argparse.Namespace) -> int:
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
