"""Uploads of code and models: where they go, and the archives that are put there."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ..errors import ConfigError
from ..models.code import DEFAULT_PROGRAM
from ..models.files import CODE
from ..storage.archive import read_members
from ..storage.uri import is_s3, join, split_s3
from .code_archive import MODEL_ARCHIVE, SOURCE_ARCHIVE, Files, dependency_files, pack, repack_model, source_files
from .estimator import EstimatorOptions
from .session import Session


def code_uri(options: EstimatorOptions, name: str, output_path: str) -> str:
    """The URI of a training's code: an archive that the user uploaded, or one that :func:`upload_code` will write.

    Args:
        options: what the user asked for.
        name: the job's name.
        output_path: the URI of the results; by default the code goes to their bucket, as in the SDK, or local folder.
    """
    if options.source_dir and options.source_dir.endswith(".tar.gz"):
        return options.source_dir
    base = f"s3://{split_s3(output_path)[0]}" if is_s3(output_path) else output_path
    return join(options.code_location or base, name, "source", SOURCE_ARCHIVE)


def upload_code(session: Session, options: EstimatorOptions, uri: str, output_path: str) -> None:
    """Packs and uploads a training's code, unless the user did.

    Args:
        session: the account.
        options: what the user asked for.
        uri: of :func:`code_uri`.
        output_path: the URI of the results.

    Raises:
        ConfigError: the code cannot be packed; see :func:`~fastinfer.sagemaker.code_archive.source_files`.
        ServiceError: AWS refused.
    """
    if uri == options.source_dir:
        return
    limits = {} if options.max_code_bytes is None else {"limit_bytes": options.max_code_bytes}
    files = source_files(options.entry_point, options.source_dir, options.dependencies, **limits)
    # The KMS key belongs to the results: users of another bucket may have no access to it.
    same_bucket = is_s3(uri) and is_s3(output_path) and split_s3(uri)[0] == split_s3(output_path)[0]
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, SOURCE_ARCHIVE)
        pack(files, archive)
        session.say(f"uploading the code: {files.describe()} ({archive.stat().st_size:,} packed) to {uri}")
        session.put(archive, uri, kms_key=options.output_kms_key if same_bucket else None, encrypt=True)


def upload_model(
    session: Session,
    options: EstimatorOptions,
    name: str,
    *,
    model: str,
    code: str | None,
    entry_point: str | None,
    output_path: str,
) -> str:
    """Uploads a trained model's archive with the code that serves it; returns its URI.

    Args:
        session: the account.
        options: what the user asked for.
        name: the model's name.
        model: the URI of the trained model.
        code: the URI of the training's code.
        entry_point: another script to serve with.
        output_path: the URI of the training's results.
    """
    if options.code_location or not is_s3(output_path):
        uri = join(options.code_location or output_path, name, MODEL_ARCHIVE)
    else:
        uri = session.default_uri(name, MODEL_ARCHIVE)
    with tempfile.TemporaryDirectory() as folder:
        trained, source, archive = (Path(folder, each) for each in ("trained.tar.gz", SOURCE_ARCHIVE, MODEL_ARCHIVE))
        session.fetch(model, trained)
        if code is not None:
            session.fetch(code, source)
        size = repack_model(
            trained,
            archive,
            code=source if code is not None else None,
            keep_code=False,
            script=Path(entry_point) if entry_point else None,
            libraries=Files(dict(dependency_files(options.dependencies))),
        )
        session.say(f"uploading the model and its code: {size:,} bytes to {uri}")
        session.put(archive, uri, kms_key=options.output_kms_key, encrypt=True)
    return uri


def upload_servable(session: Session, model: str, name: str) -> tuple[str, str]:
    """A model's archive that the container can serve: its URI, and the file below ``code/`` that serves.

    The container requires a serving module; an empty one selects its defaults.

    Args:
        session: the account.
        model: the URI of a model's archive.
        name: the model's name, for the URI of a new archive.

    Raises:
        ConfigError: ``bad_option`` where there is code, and it is unknown which module of it serves.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, empty, archive = (Path(folder, each) for each in (MODEL_ARCHIVE, DEFAULT_PROGRAM, "new.tar.gz"))
        session.fetch(model, given)
        code = [member.name for member in read_members(given) if member.name.startswith(f"{CODE}/")]
        if f"{CODE}/{DEFAULT_PROGRAM}" in code:
            return model, DEFAULT_PROGRAM
        if any(member.endswith(".py") for member in code):
            raise ConfigError(
                f"the model has modules below {CODE}/, but none of the name {DEFAULT_PROGRAM}",
                code="bad_option",
                path=model,
                hint="name the module that serves",
            )
        empty.touch()
        size = repack_model(given, archive, code=None, keep_code=True, script=empty)
        uri = session.default_uri(name, MODEL_ARCHIVE)
        session.say(f"uploading the model with an empty {CODE}/{DEFAULT_PROGRAM}: {size:,} bytes to {uri}")
        session.put(archive, uri, encrypt=True)
        return uri, DEFAULT_PROGRAM
