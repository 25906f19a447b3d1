"""The errors that fastinfer raises on purpose: one base class, one class for each kind of fault, and one registry of
their codes.

A message has a fixed order: the place, what is wrong, what was found, what to do. The same facts are attributes, so that
a program need not parse the text. A code is a stable word. Each is registered once, with the class that carries it, its
cause and its cure; an error with an unregistered code cannot be made. docs/errors.md is :func:`errors_page`.

Hints are written for the reader of any program: they name arguments of the Python API or use neutral words. The commands
replace them by hints that name their own options (``fastinfer.commands``).
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from .extras import install_command

# How much of a user's data a message quotes.
FOUND_LIMIT = 60

Error = TypeVar("Error", bound="FastinferError")


class _Unchanged:
    """The default of :meth:`FastinferError.at`'s arguments, because None has a meaning there."""


_UNCHANGED = _Unchanged()


class FastinferError(Exception):
    """Base of all errors that fastinfer raises on purpose.

    Args:
        message: what is wrong and what was found, without the place.
        code: a registered word for the kind of error, for programs; None: the class's own.
        path: the file (or other name of the input) it is in.
        line: 1-based line in that file; a line ends at LF, CRLF or a lone CR.
        column: 1-based byte in that line.
        hint: what to do about it.
        found: the text that was found instead of what was expected, not shortened as in the message.

    Attributes:
        exit_code: the exit code of a command that ends with such an error.

    Raises:
        ValueError: the code is not registered, or is registered for another class.
    """

    code = ""
    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        path: str | None = None,
        line: int | None = None,
        column: int | None = None,
        hint: str | None = None,
        found: str | None = None,
    ) -> None:
        self.message = message
        self.code = code or type(self).code
        self.path = path
        self.line = line
        self.column = column
        self.hint = hint
        self.found = found
        entry = REGISTRY.get(self.code)
        if entry is None or not isinstance(self, entry.error):
            registered = (
                f"is registered for {entry.error.__name__}" if entry else "is not registered in fastinfer.errors"
            )
            raise ValueError(f"the code {self.code!r} of this {type(self).__name__} {registered}")
        super().__init__(message)

    def at(
        self: Error,
        *,
        path: str | _Unchanged | None = _UNCHANGED,
        line: int | _Unchanged | None = _UNCHANGED,
        column: int | _Unchanged | None = _UNCHANGED,
        hint: str | _Unchanged | None = _UNCHANGED,
    ) -> Error:
        """A copy of this error with other places or another hint; None removes one. This error is not changed."""
        copy = _restore(type(self), self.message, self.__dict__.copy())
        for name, value in (("path", path), ("line", line), ("column", column), ("hint", hint)):
            if not isinstance(value, _Unchanged):
                setattr(copy, name, value)
        copy.__cause__, copy.__context__ = self.__cause__, self.__context__
        copy.__suppress_context__ = self.__suppress_context__
        return copy.with_traceback(self.__traceback__)

    def __str__(self) -> str:
        location = ":".join(str(part) for part in (self.path, self.line, self.column) if part is not None)
        text = f"{location}: {self.message}" if location else self.message
        return f"{text}. Hint: {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple[object, ...]:
        # Errors are sent between processes; the default would call __init__ without the keywords.
        return (_restore, (type(self), self.message, self.__dict__.copy()))


class InputError(FastinferError, ValueError):
    """The input data is wrong: a bad cell, a wrong number of values, an unreadable file."""

    code = "bad_input"
    exit_code = 1


class ConfigError(FastinferError, ValueError):
    """An option is wrong, or the machine lacks what was asked for."""

    code = "bad_option"
    exit_code = 2


class ModelError(FastinferError):
    """The model cannot be loaded or run."""

    code = "bad_model"
    exit_code = 3


class OutputError(FastinferError, OSError):
    """A result cannot be written."""

    code = "cannot_write"
    exit_code = 4

    # OSError's own __str__ and pickling would hide ours.
    __str__ = FastinferError.__str__
    __reduce__ = FastinferError.__reduce__


class WorkerDied(FastinferError):
    """A worker process died on a shard, and died again when the shard was tried alone."""

    code = "worker_died"
    exit_code = 5


class ServiceError(FastinferError):
    """AWS or another service refused a call or could not be reached.

    Attributes:
        service_code: the service's own word, such as ``ValidationException``; empty where it did not answer.
    """

    code = "aws_refused"
    exit_code = 6
    service_code = ""

    @property
    def transient(self) -> bool:
        """Whether the same call may succeed a little later."""
        return self.code in ("aws_throttled", "aws_unreachable")


def quote(found: bytes | str) -> str:
    """The found text as a message shows it: cut to 60 characters, unprintable bytes escaped."""
    text = found.decode("utf-8", "backslashreplace") if isinstance(found, bytes) else found
    if len(text) > FOUND_LIMIT:
        text = text[:FOUND_LIMIT] + "…"
    return repr(text)


def counted(number: int, noun: str) -> str:
    """A number with its noun: 0 inputs, 1 input, 2,000 inputs."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


class Entry(NamedTuple):
    """The registry's entry of a code.

    Attributes:
        code: the word.
        error: the class whose errors carry it, or the base of those classes.
        cause: what happened.
        cure: what to do about it.
    """

    code: str
    error: type[FastinferError]
    cause: str
    cure: str


REGISTRY: dict[str, Entry] = {}


def register(error: type[FastinferError], *entries: tuple[str, str, str]) -> None:
    """Adds codes of a class, each with its cause and cure.

    Raises:
        ValueError: a code is registered already.
    """
    for code, cause, cure in entries:
        if code in REGISTRY:
            raise ValueError(f"the code {code!r} is registered already")
        REGISTRY[code] = Entry(code, error, cause, cure)


def errors_page() -> str:
    """The text of docs/errors.md."""
    lines = [
        "# Errors",
        "",
        "Printed from the registry in `fastinfer/errors.py` by `make docs/errors.md`; a test compares the two.",
        "",
        "Every error that fastinfer raises on purpose is a `fastinfer.FastinferError`. A program reads its attributes: `code`",
        "(one of the stable words below), `message`, `path`, `line`, `column`, `found` (the text at fault) and `hint`. A",
        "command prints it as one line on stderr and ends with the exit code of its class. Any other exception is a defect of",
        "fastinfer: a command prints one line for it and ends with 70; `FASTINFER_TRACEBACK=1` shows the traceback.",
    ]
    for error in dict.fromkeys(entry.error for entry in REGISTRY.values()):
        about = (error.__doc__ or "").strip().splitlines()[0]
        if error is FastinferError:
            about = "Errors of jobs: classes of `fastinfer.sagemaker`, derived directly from the base."
        lines += ["", f"## {error.__name__}, exit code {error.exit_code}", "", about, ""]
        lines += ["| code | cause | what to do |", "| --- | --- | --- |"]
        entries = sorted(entry for entry in REGISTRY.values() if entry.error is error)
        lines += [f"| `{entry.code}` | {entry.cause} | {entry.cure} |" for entry in entries]
    return "\n".join(lines) + "\n"


def _restore(kind: type[Error], message: str, state: dict[str, object]) -> Error:
    error = kind(message, code=str(state["code"]))
    error.__dict__.update(state)
    return error


register(
    InputError,
    (
        "bad_compression",
        "compressed data is damaged, followed by something else, or not of the kind that was named",
        "get the file again; each file may have a kind of its own where it is recognized by its first bytes",
    ),
    ("bad_answer", "an answer cannot be joined to its record", "accept text/csv or application/json"),
    ("bad_filter", "a filter selects a part that a record or its answer lacks", "correct the filter or the data"),
    ("bad_image", "an image is no JPEG or PNG, is damaged or has too many pixels", "send a JPEG or PNG file"),
    ("bad_input", "the input cannot be used; the message says why", "correct the input"),
    ("bad_json", "a JSON payload is not valid JSON, is not UTF-8 or is nested too deeply", "send valid JSON"),
    ("bad_length", "an IDX file has more bytes than its header says, or than are read", "get the file again"),
    ("bad_manifest", "a list of objects is malformed, or names what it may not", "correct the entry that is named"),
    ("bad_magic", "a file is not an IDX file of the expected kind", "name images and labels as MNIST provides them"),
    ("bad_npy", "an NPY payload is damaged or of another format version", "save the array with `numpy.save`"),
    ("bad_number", "a cell of a sample file is not a number", "correct the file, or write the samples again"),
    ("bad_output", "a result is damaged, or holds something else than rows of numbers", "run the transform again"),
    ("bad_recordio", "RecordIO framing is damaged", "get the file again, or write it with MXNet's `MXRecordIO`"),
    ("bad_shape", "a payload's shape does not fit the model", "send rows of the model's shape"),
    ("bad_table", "a file is not a table that a run has made", "name what `table` named in the run"),
    ("bad_values", "a payload is not a rectangle of numbers", "send numbers, in rows of equal length"),
    ("cannot_read", "a file cannot be read, or is not a regular file", "check the path and its permissions"),
    ("count_mismatch", "images, labels and predictions do not belong together", "name files of the same set"),
    ("empty", "an IDX file holds no image", "name a file with images"),
    ("empty_cell", "a CSV field is empty", "fill it, or name a value for empty cells"),
    ("code_failed", "the model's own code raised an exception for a payload", "see the message; correct code or input"),
    ("empty_input", "the input holds no values", "remove the file, or send at least one row"),
    ("expected_number", "a CSV field is not a number", "correct it; comments and a header line can be skipped"),
    ("folder_missing", "a folder does not exist", "check the path"),
    ("input_changed", "a file changed while it was read", "run again when it is complete"),
    ("input_missing", "a file does not exist, or nothing matches", "check the path"),
    ("line_too_long", "a line is longer than the memory limit allows", "one record per line, or more memory"),
    ("link_loop", "a symbolic link leads back to a folder above it", "remove the link"),
    ("no_such_place", "no file or object has this name", "check the URI"),
    ("not_gzip", "a file is not compressed with gzip", "name the `.gz` file"),
    ("not_text", "an object is not UTF-8 text", "read its bytes instead"),
    ("output_name", "an output cannot have the name that its input gives it", "rename the input"),
    ("output_full", "the input has more values than the array has room for", "pass an array with more rows"),
    ("partial_row", "the number of values is not a multiple of what one record takes", "complete the last record"),
    ("payload_too_large", "a record or payload is larger than the limit", "raise the limit, or split by lines"),
    ("too_many_errors", "more records were rejected than allowed", "correct the records listed in `_rejects.jsonl`"),
    ("truncated", "compressed data, RecordIO or an IDX file ends too early", "get the file again"),
    (
        "unequal_line",
        "a CSV line has more or fewer fields than the first line or the model",
        "make all lines equally long",
    ),
    ("unsafe_key", "an object's name would lead outside the folder", "rename the object"),
    ("unsupported_accept", "none of the accepted content types can be produced", "accept one that the message lists"),
    (
        "wrong_width",
        "CSV lines are neither made of whole records nor parts of one",
        "remove an ID column or a comma at the end; or let records be read across lines",
    ),
    ("unsupported_content_type", "the content type is not supported", "send one that the message lists"),
)
register(
    ConfigError,
    ("aiohttp_missing", "the server requires the package aiohttp", f"`{install_command('serve')}`"),
    ("backend_missing", "the backend's package cannot be imported", "install the package that the hint names"),
    ("bad_channel", "an input channel is not in S3, or is named twice", "name each channel once, with an S3 URI"),
    ("bad_device", "a device name is malformed, or names a device twice", "`cpu`, `gpu` or `gpu:0,1`"),
    ("bad_environment", "an environment variable has a value that cannot be used", "correct or unset it"),
    ("bad_host", "the server cannot listen on this host", "name an address of this machine"),
    ("bad_hyperparameter", "a hyperparameter cannot be written as JSON", "pass numbers, text, lists or dictionaries"),
    ("bad_instance_type", "the instance type is unknown here", "such as `ml.m4.xlarge`, or `local`"),
    ("bad_name", "a job's name has characters that are not allowed", "use letters, digits and hyphens"),
    ("bad_option", "an option has a value that cannot be used", "see the message and the command's `--help`"),
    ("bad_path", "a filter is not in the supported subset of JSONPath", "such as `$[1:]`, `$[0,-1]` or `$.features`"),
    ("bad_job_file", "a job file is no CreateTransformJob request", "compare it with the API's fields"),
    ("bad_place", "a URI is malformed or of a kind that is not supported", "such as `s3://bucket/key`, or a path"),
    ("bad_vpc", "a VPC lacks its subnets or its security groups", "give both"),
    ("boto3_missing", "AWS access requires the package boto3", f"`{install_command('sagemaker')}`"),
    ("obstore_missing", "objects on S3 require the package obstore", f"`{install_command('s3')}`"),
    ("fsspec_missing", "a URL requires fsspec, or the package of its kind", f"`{install_command('urls')}`"),
    ("used_before_fork", "a process used S3 and was forked", "start processes by `spawn` or `forkserver`"),
    ("busy", "the transformer is still running a transform", "`wait()` first, or use a second `Transformer`"),
    ("checkpoints_exist", "the folder has checkpoints of another training", "resume it, or name another folder"),
    ("foreign_bucket", "the default bucket belongs to another account", "`Session(default_bucket=...)`"),
    ("link", "a file of the source code is a link that cannot be packed", "copy the file, or name it as a dependency"),
    ("memory_limit", "the memory limit is too small for the workers", "allow more memory, or use fewer workers"),
    ("mxnet_broken", "mxnet is installed but cannot be imported", "see the message; `fastinfer doctor` shows more"),
    (
        "mxnet_missing",
        "mxnet is not installed",
        "`pip install 'mxnet==1.9.1' 'numpy<2'`; from Python 3.13 on `pip install --no-deps 'mxnet==1.9.1'`",
    ),
    ("no_cluster", "the dask scheduler or ray cluster cannot be reached", "check the address"),
    ("no_entry_point", "the training script does not exist", "`entry_point` is the script's name in `source_dir`"),
    ("no_parameter_server", "several hosts need MXNet's parameter server", "start it as docs/training.md shows"),
    ("no_region", "no AWS region is configured", "`$AWS_DEFAULT_REGION`, `aws configure` or `Session(region=...)`"),
    ("no_role", "no IAM role is known, or it cannot be used", "name a role; local jobs need none"),
    ("no_source", "source code or a dependency does not exist or cannot be read", "check the path"),
    ("no_such_device", "the device does not exist on this machine", "`fastinfer doctor` lists what there is"),
    ("no_such_job", "no job has this name", "check the name and the region"),
    ("not_exact", "onnxruntime never gives the container's bytes", "leave exact out, or use the model of MXNet"),
    ("not_here", "a name of SageMaker's SDK that fastinfer does not have", "use what the hint names"),
    ("not_local", "a local job does not support this option", "leave it out, or run the job on AWS"),
    ("not_started", "there is nothing to wait for yet", "call `fit()` or `transform()` first"),
    ("file_exists", "a file that would be written is there", "name another one, or overwrite it"),
    ("onnx_missing", "onnx is not installed", f"`{install_command('export')}`"),
    ("onnxruntime_broken", "onnxruntime is installed but cannot be imported", "see the message"),
    ("onnxruntime_missing", "onnxruntime is not installed", f"`{install_command('onnx')}`"),
    ("other_format", "the runtime does not run models of this format", "name the other runtime, or none"),
    ("other_machine", "a worker's machine would produce other bytes", "use the same versions, environment and CPU"),
    ("other_run", "the output folder holds results of another run", "name another folder, or allow overwriting"),
    ("other_training", "the checkpoint is from another training", "use the same options, or another checkpoint folder"),
    ("output_in_use", "another program is writing to the folder", "wait, or name another folder"),
    ("shtab_missing", "completion requires the package shtab", f"`{install_command('completion')}`"),
    ("pillow_missing", "images require the package Pillow", f"`{install_command('report')}`"),
    ("pyarrow_missing", "a table in Parquet requires the package pyarrow", f"`{install_command('table')}`"),
    ("port_taken", "another process uses the port", "name another port"),
    ("secrets", "a file that may hold credentials would be uploaded", "put the code into a folder of its own"),
    ("too_large", "the source code is too large to upload", "send data through a channel, or raise `max_code_bytes`"),
    ("twice", "two files would have the same name in the archive", "rename one"),
    ("unknown_isa", "this build or CPU lacks the instruction set that was forced", "unset `FASTINFER_ISA`"),
    ("unknown_python", "no container image has this Python version", "use one that the hint lists"),
    ("unknown_region", "no container image is known in this region", "use a region that the hint lists"),
    ("unknown_version", "no container image has this framework version", "use one that the hint lists"),
    ("unsafe_source", "the source folder is a home or system folder", "put the code into a folder of its own"),
    (
        "zstd_missing",
        "reading zstd requires Python 3.14 or the package backports.zstd",
        f"`{install_command('zstd')}`",
    ),
)
register(
    ModelError,
    ("bad_model", "the model cannot be read or run; the message says why", "save it again as `Module` does"),
    ("bad_certificate", "the certificate beside a model cannot be read", "export the model again"),
    ("bad_program", "the model's own serving code fails or lacks a function", "correct the code"),
    ("diverged", "a parameter became infinite or NaN in training", "use a smaller learning rate"),
    ("has_code", "the model has hooks of its own, and nothing says whether they are called", "run or ignore its code"),
    ("held_batch", "the graph holds a batch size whose records influence each other", "save it for any batch size"),
    (
        "mixed_batch",
        "at the batch size that was asked for the model does not give a row for each record",
        "leave the batch size out: records are computed one by one then",
    ),
    (
        "mixed_rows",
        "records of this run influence each other in the model, although those of the probe did not",
        "compute each record by itself: exact",
    ),
    ("model_incomplete", "a file of the model is missing", "see what was found and what is expected in the message"),
    ("model_missing", "there is no model of that name", "name a folder or a `model.tar.gz`"),
    ("no_such_output", "the output to give is not there, or must be chosen", "name one that the message lists, or all"),
    ("not_certified", "the model has no certificate", "export it with `fastinfer export`, which writes one"),
    ("no_translation", "an operator cannot be written as ONNX", "replace it by others that docs/onnx.md lists"),
    ("no_program", "the model does not say which of its files is the serving code", "name it"),
    ("params_missing", "the parameters file lacks arrays of the graph", "save the model again"),
    ("several_models", "the folder or archive holds several models", "name one by the prefix of its files"),
    ("unknown_inputs", "nothing says which variables of the graph are inputs", "name them, with their columns"),
    ("unknown_shape", "nothing says what shape a record has", "give the shape of one record"),
    ("unsafe_archive", "an archive holds members that must not be unpacked", "pack plain files only"),
)
register(
    OutputError,
    ("account", "the outputs have more or fewer rows than records were read", "report it: a defect of fastinfer"),
    ("cannot_write", "a file or folder cannot be written", "check space and permissions"),
    ("lease_lost", "another run may write to the folder on S3, whose lease was not renewed in time", "run again"),
    ("foreign_files", "the folder holds files that would mix with the new ones", "remove them, or name another folder"),
)
register(
    WorkerDied,
    ("worker_died", "a worker process died twice on the same inputs", "see the system's log (out of memory?)"),
)
register(
    ServiceError,
    ("aws_denied", "AWS denied access", "check the credentials, the role's policies and the region"),
    ("aws_missing", "AWS has no such object, job or model", "check the name and the region"),
    ("aws_refused", "AWS refused the call; the message has its reason", "correct what it names"),
    ("aws_throttled", "AWS received too many calls", "try again later"),
    ("aws_unreachable", "AWS did not answer", "check the network and the region, or try again later"),
    ("no_credentials", "no AWS credentials were found", "`aws configure`, or `$AWS_PROFILE`"),
    ("url_failed", "a URL that is not of S3 could not be read; the message says why", "correct what it names"),
    ("quota_exceeded", "the account's quota is used up", "another instance type or count, or a higher quota from AWS"),
)
register(
    FastinferError,
    ("job_failed", "a SageMaker job failed", "see the reason in the message, and the job's log"),
    ("job_stopped", "a SageMaker job was stopped before its end", "start it again"),
    ("max_run", "a local job took longer than it was allowed to", "raise `max_run`"),
    ("script_failed", "the training script ended with an error", "see its output"),
)
