"""The table of a run's results: whether one can be made of them, and making it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..outputs.layout import OutputLayout
from ..outputs.table import Fronts, check_place, write_table
from ..storage.listing import BEGINNING
from ..storage.places import plain_place, store_of
from ..storage.uri import is_url, matches_glob
from .code_model import CodeModel
from .formats import accepted_of
from .request import JSON, KEEP, MANIFEST, TransformRequest
from .source import Listing, read_entries

if TYPE_CHECKING:
    from ..models.load import AnyModel


def check_table(path: str, source: str, output: str, request: TransformRequest, model: AnyModel | CodeModel) -> None:
    """Refuses a table before the run, if it cannot be made of the results, or has no place.

    Args:
        path: of the table, or its URL.
        source: the objects of the run.
        output: the folder of the results.
        request: what is asked for.
        model: what computes them.

    Raises:
        ConfigError: ``bad_option``; ``pyarrow_missing``.
        OutputError: ``cannot_write``.
    """
    check_place(path)
    if _fronts(request) is None and (request.joins or request.output_filter != "$" or accepted_of(request) != JSON):
        raise ConfigError("a table is made of results in JSON that are not filtered or joined, or of lines with an id")
    if not isinstance(model, CodeModel) and model.all_outputs:
        raise ConfigError(
            "a table has one prediction for each row, not several outputs", hint="name one of the outputs"
        )
    listed = [entry.uri for entry in read_entries(source)] if request.data_type == MANIFEST else []
    source, output, place, *listed = map(_real, (source, output, path, *listed))
    if place in (source, *listed) or _is_object(place, source, output):
        raise ConfigError(
            "the table would be one of the next run's objects", path=path, hint="put it beside them, not among them"
        )


def make_table(path: str, source: str, output: str, request: TransformRequest, rows_each: int = 1) -> int:
    """Makes the table of all results that the objects of a source have, also those of earlier runs.

    Args:
        path, source, output, request: as for :func:`check_table`.
        rows_each: how many rows the model gives for each record.

    Returns:
        how many rows it has.

    Raises:
        OutputError: it cannot be written, or a result not read.
        ServiceError: S3 refused, or was not reached.
    """
    layout = OutputLayout(output)
    results = ((item.key, layout.result(item)) for item in Listing(source, request, output=output))
    return write_table(plain_place(path), results, store_of(output), fronts=_fronts(request), rows_each=rows_each)


def _fronts(request: TransformRequest) -> Fronts | None:
    if request.id_column is None:
        return None
    return Fronts(1 + (request.label_column is not None), header=request.header == KEEP)


def _real(place: str) -> str:
    place = plain_place(place)
    return place if is_url(place) else os.path.realpath(place)


def _is_object(place: str, source: str, output: str) -> bool:
    """Whether a source that is not the place itself names it: a folder, a prefix or a glob."""
    if place.startswith(source) if is_url(source) else _is_below(place, source):
        # A folder of results that is below the source is not entered.
        return output == source or not _is_below(place, output)
    if os.path.lexists(source):
        return False
    patterns = [source, f"{source}/**"] if source.endswith(BEGINNING) else [source]
    return any(matches_glob(pattern)(place) for pattern in patterns)


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(os.path.join(folder, ""))
