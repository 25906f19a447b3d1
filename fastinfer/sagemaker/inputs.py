"""The inputs of a training, and the tags of all requests, as users pass them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Union


class TrainingInput:
    """A channel, with the arguments of SageMaker's SDK.

    Args:
        s3_data: its URI.
        distribution: ``FullyReplicated`` (default) or ``ShardedByS3Key``.
        compression: ``None`` or ``Gzip``.
        content_type: the MIME type of its objects.
        record_wrapping: ``None`` or ``RecordIO``.
        s3_data_type: ``S3Prefix``, ``ManifestFile`` or ``AugmentedManifestFile``.
        input_mode: ``File``, ``Pipe`` or ``FastFile``; None: the training's.
    """

    def __init__(
        self,
        s3_data: str,
        distribution: str | None = None,
        compression: str | None = None,
        content_type: str | None = None,
        record_wrapping: str | None = None,
        s3_data_type: str = "S3Prefix",
        input_mode: str | None = None,
    ) -> None:
        self.config: dict[str, Any] = {
            "DataSource": {
                "S3DataSource": {
                    "S3DataType": s3_data_type,
                    "S3Uri": s3_data,
                    "S3DataDistributionType": distribution or "FullyReplicated",
                }
            }
        }
        optional = {
            "CompressionType": compression,
            "ContentType": content_type,
            "RecordWrapperType": record_wrapping,
            "InputMode": input_mode,
        }
        self.config.update({name: value for name, value in optional.items() if value is not None})


# A single channel, or channels by their names.
Channels = Union[str, TrainingInput, Mapping[str, Union[str, TrainingInput]], None]
# The API's list of ``{"Key": …, "Value": …}``, or a plain dict.
Tags = Union[Mapping[str, str], Sequence[Mapping[str, str]], None]
