"""The options of ``fastinfer transform`` that say what a run is asked to do: a TransformRequest in words that are typed."""

from __future__ import annotations

import argparse

from ..engine.request import AUTO, MANIFEST, PREFIX, TransformRequest
from ..records.compression import COMPRESSION_TYPES
from ._run import as_option


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
    form = parser.add_argument_group("how they are read")
    form.add_argument(
        "--compression-type",
        type=str.lower,
        choices=COMPRESSION_TYPES,
        default=AUTO,
        help="how objects are compressed (default auto: gzip or zstd where the first bytes of an object say so)",
    )


def request_of(arguments: argparse.Namespace) -> TransformRequest:
    """The request that was typed."""
    return TransformRequest(
        data_type=MANIFEST if arguments.manifest else PREFIX,
        include=tuple(arguments.include),
        exclude=tuple(arguments.exclude),
        compression_type=arguments.compression_type,
        spell=spell,
    )


# Fields whose option has another name.
SPELLED: dict[str, str] = {}


def spell(name: str, *values: str) -> str:
    """A field, and values of it, as they are typed."""
    return as_option(SPELLED.get(name, name), *values)
