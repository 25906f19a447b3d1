"""The options of ``fastinfer transform`` that say what a run is asked to do: a TransformRequest in words that are typed."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re

from ..engine.request import ALL, CSV, KEEP, MANIFEST, MULTI, NONE, PREFIX, WORDS, TransformRequest
from ..errors import ConfigError, quote
from ..records.compression import AUTO
from ..storage.uri import is_s3
from ._run import as_option, whole_number


def add_request_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options, each named as the field of :class:`~fastinfer.engine.request.TransformRequest`."""
    which = parser.add_argument_group("which objects")
    which.add_argument(
        "--manifest",
        action="store_true",
        help="IN is a list of objects: a manifest as Batch Transform takes it, or a path in each line",
    )
    which.add_argument(
        "--include",
        action="append",
        default=[],
        metavar="PATTERN",
        help="only objects with such a name or path, such as '*.csv'",
    )
    which.add_argument(
        "--exclude", action="append", default=[], metavar="PATTERN", help="no objects with such a name or path"
    )
    how = parser.add_argument_group("payloads, as in CreateTransformJob")
    how.add_argument(
        "--content-type",
        default=CSV,
        metavar="TYPE",
        help="of the objects: text/csv (default), application/json, application/jsonlines, application/x-npy, "
        "application/x-image (JPEG or PNG; 'application/x-image; mean=123.68,116.779,103.939; fit=crop')",
    )
    how.add_argument(
        "--accept",
        metavar="TYPE",
        help="of the results: application/json (default), text/csv, application/jsonlines, application/x-npy",
    )
    _add_word(
        how,
        "compression_type",
        AUTO,
        "how objects are compressed (default auto: gzip or zstd where the first bytes of an object say so)",
    )
    _add_word(
        how, "split_type", NONE, "what a record is: the whole object (none, default), a line, or a record of RecordIO"
    )
    _add_word(
        how,
        "strategy",
        MULTI,
        "records of a payload: as many as --max-payload allows (multirecord, default), or one (singlerecord)",
    )
    how.add_argument(
        "--max-payload", type=whole_number, metavar="MB", help="largest payload in MiB; 0 (default): no limit"
    )
    _add_word(how, "assemble_with", NONE, "what follows each answer: nothing (none, default), or a line end")
    rows = parser.add_argument_group("filters and joins")
    rows.add_argument(
        "--input-filter", default=ALL, metavar="PATH", help="part of a record that the model is given: '$[1:]'"
    )
    rows.add_argument(
        "--output-filter", default=ALL, metavar="PATH", help="part of the joined answer to keep: '$[0,-1]'"
    )
    _add_word(rows, "join_source", NONE, "input: put each record in front of its answer")
    rows.add_argument(
        "--inclusive-slices", action="store_true", help="[a:b] includes b, as AWS's page says; default: it does not"
    )
    for name, what in (("--id-column", "an id"), ("--label-column", "a label")):
        rows.add_argument(
            name,
            type=_column,
            metavar="COLUMN",
            help=f"column of {what}, which is not for the model and is put in front of its answer: its number from 0 "
            "(-1: the last), or its name with --header keep",
        )


def _add_word(group: argparse._ArgumentGroup, field: str, default: str, what: str) -> None:
    """Adds the option of a field that has one of a few words, in any case."""
    group.add_argument(as_option(field), type=str.lower, choices=WORDS[field], default=default, help=what)


def _column(text: str) -> int | str:
    return int(text) if re.fullmatch(r"-?[0-9]+", text) else text


def read_job(arguments: argparse.Namespace) -> tuple[TransformRequest, list[str]]:
    """The request of ``--job``; fills in the places and the model that were not typed.

    Returns:
        the request, and the job's fields that have no meaning here.

    Raises:
        ConfigError: the file is no job, an option says the same as the job, or the model is not here.
    """
    from ..engine.source import as_prefix
    from ..sagemaker.job_file import KMS_KEY, read_job_file

    parser = argparse.ArgumentParser()
    add_request_options(parser)
    typed = [name for name, value in vars(parser.parse_args([])).items() if getattr(arguments, name) != value]
    if typed:
        raise ConfigError(f"{spell(typed[0])} cannot be given with --job, which says it", hint="edit the job file")
    job, model, unused = read_job_file(arguments.job)
    arguments.input = arguments.input or (as_prefix(job.source) if job.request.data_type == PREFIX else job.source)
    arguments.output = arguments.output or job.output
    if KMS_KEY in unused and is_s3(arguments.output):
        raise ConfigError(
            f"the job's {KMS_KEY} is not supported for results on S3",
            hint="have the bucket encrypt what is written, and remove the field; or give OUT, a path of this machine",
        )
    if arguments.model is None and not any(map(os.environ.get, MODEL_VARIABLES)):
        if not os.path.exists(model):
            raise ConfigError(
                f"the job's model {quote(model)} is not on this machine", hint="name its files with --model"
            )
        arguments.model = model
    request = job.request
    if arguments.header == KEEP:  # which the API has not
        request = dataclasses.replace(request, header=KEEP, spell=spell)
    return request, unused


def request_of(arguments: argparse.Namespace) -> TransformRequest:
    """The request that was typed."""
    return TransformRequest(
        data_type=MANIFEST if arguments.manifest else PREFIX,
        include=tuple(arguments.include),
        exclude=tuple(arguments.exclude),
        header=KEEP if arguments.header == KEEP else NONE,
        **{name: getattr(arguments, name) for name in SAME},
        spell=spell,
    )


# Where else a model may be named.
MODEL_VARIABLES = ("FASTINFER_MODEL", "SM_MODEL_DIR")
# Fields whose option has another name.
SPELLED = {"data_type": "manifest"}
# Fields whose option has the same name.
SAME = (
    "content_type",
    "accept",
    "compression_type",
    "split_type",
    "strategy",
    "max_payload",
    "assemble_with",
    "input_filter",
    "output_filter",
    "join_source",
    "inclusive_slices",
    "id_column",
    "label_column",
)


def spell(name: str, *values: str) -> str:
    """A field, and values of it, as they are typed."""
    return as_option(SPELLED.get(name, name), *values)
