"""The options of ``fastinfer sagemaker``."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..sagemaker.estimator import DAY_S
from ._run import path

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


def make_parser(prog: str = "fastinfer sagemaker") -> argparse.ArgumentParser:
    """The parser of the command; `prog` is what its usage line calls it."""
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
    wait = waiting.add_argument("--wait", action=argparse.BooleanOptionalAction, default=True)
    # Given at once, it would get "(default: True)" up to Python 3.10.
    wait.help = "wait until the job ends (default)"
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
    waiting.add_argument(
        "--instance-count", type=int, default=1, metavar="N", help="number of instances (default: 1; locally always 1)"
    )
    waiting.add_argument("--framework-version", metavar="VERSION", help="the version of MXNet, 1.4.1 to 1.9.0")
    waiting.add_argument("--py-version", metavar="VERSION", help="the version of Python, such as py38")
    waiting.add_argument("--image-uri", metavar="IMAGE", help="use this container image instead of SageMaker's")
    waiting.add_argument("--output", type=path, metavar="URI", help="the results (default: in the default bucket)")
    waiting.add_argument("--job-name", metavar="NAME", help="default: the image's name and the time")
    waiting.add_argument(
        "--tag", type=_pair, action="append", default=[], metavar="NAME=VALUE", help="a tag of the job; repeatable"
    )
    waiting.add_argument(
        "--environment",
        type=_pair,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an environment variable of the job; repeatable",
    )
    waiting.add_argument("--output-kms-key", metavar="KEY", help="the KMS key that encrypts the results in S3")
    waiting.add_argument("--volume-kms-key", metavar="KEY", help="the KMS key that encrypts the instances' disks")

    train = commands.add_parser("train", parents=[shared, waiting], help="train a script", epilog=EPILOG)
    train.add_argument(
        "entry_point", type=path, metavar="SCRIPT", nargs="?", help="the training script; omitted with --attach"
    )
    train.add_argument(
        "--channel", type=_pair, action="append", default=[], metavar="NAME=URI", help="an input channel; repeatable"
    )
    train.add_argument(
        "--hyperparameter",
        type=_hyperparameter,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an argument of the script: JSON, else text; repeatable",
    )
    train.add_argument("--source-dir", type=path, metavar="DIR", help="a folder to upload with the script")
    train.add_argument(
        "--dependency",
        type=path,
        action="append",
        default=[],
        metavar="PATH",
        help="a file or folder to upload as well",
    )
    train.add_argument("--code-location", type=path, metavar="URI", help="the uploaded code")
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
    train.add_argument(
        "--volume-size", type=int, default=30, metavar="GB", help="the size of an instance's disk (default: 30)"
    )
    train.add_argument("--subnet", action="append", metavar="ID", help="a subnet of the job's VPC; repeatable")
    train.add_argument(
        "--security-group", action="append", metavar="ID", help="a security group of the job's VPC; repeatable"
    )

    transform = commands.add_parser(
        "transform", parents=[shared, waiting], help="run a model over objects", epilog=EPILOG
    )
    transform.add_argument(
        "input", type=path, metavar="IN", nargs="?", help="the objects: s3://..., or a path for a local job"
    )
    transform.add_argument(
        "--model",
        type=path,
        metavar="MODEL",
        help="a model.tar.gz (s3://..., or a path for a local job), or the name of a model that was created",
    )
    transform.add_argument(
        "--training-job", metavar="JOB", help="the model that this training made, with its code, in place of --model"
    )
    transform.add_argument("--program", metavar="NAME", help="with --model: the module below its code/ that serves")
    transform.add_argument(
        "--content-type", default="text/csv", metavar="TYPE", help="what the objects are (default: text/csv)"
    )
    transform.add_argument(
        "--compression-type", choices=["None", "Gzip"], help="how the objects are compressed (default: None)"
    )
    transform.add_argument(
        "--split-type",
        choices=["None", "Line", "RecordIO", "TFRecord"],
        help="what separates the records of an object; None (default): an object is one request",
    )
    transform.add_argument(
        "--strategy",
        choices=["MultiRecord", "SingleRecord"],
        help="with --split-type: as many records in a request as --max-payload allows, or one",
    )
    transform.add_argument(
        "--assemble-with",
        choices=["None", "Line"],
        help="what stands between the answers of an object: nothing (default), or a line end",
    )
    transform.add_argument("--accept", metavar="TYPE", help="what the results are to be (default: JSON)")
    transform.add_argument("--max-payload", type=int, metavar="MB", help="the largest request; 0: any (default: 6)")
    transform.add_argument(
        "--max-concurrent-transforms", type=int, metavar="N", help="requests that an instance answers at a time, on AWS"
    )
    transform.add_argument("--input-filter", metavar="JSONPATH", help="the part of a record that is sent, on AWS")
    transform.add_argument("--output-filter", metavar="JSONPATH", help="the part of an answer that is kept, on AWS")
    transform.add_argument(
        "--join-source", choices=["None", "Input"], help="Input: put each record beside its answer, on AWS"
    )

    status = commands.add_parser("status", parents=[shared], help="print a job's status", epilog=EPILOG)
    status.add_argument("name", metavar="JOB", help="the name of a training or transform job")
    status.add_argument("--wait", action="store_true", help="wait until it ends, and print its log")
    return parser
