"""MXNetModel of SageMaker's SDK: a saved model, with serving code or without, for transform jobs."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from ..errors import ConfigError
from ..models.code import PROGRAM_VARIABLE
from ..storage.aws import translating_errors
from . import image_uris, jobs
from .code_archive import MODEL_ARCHIVE, repack_model
from .deployment import Deployable
from .estimator import INSTANCE_TYPE
from .image_uris import LOCAL_INFERENCE, base_name
from .inputs import Tags
from .local.session import choose_session, run_locally
from .requests import SERVED_CODE, model_request
from .session import LOCAL_ROLE, Session
from .transformer import Transformer
from .uploads import upload_servable


class MXNetModel(Deployable):
    """A model that was saved before: its archive, and the code that serves it.

    Args:
        model_data: the URI of the model's archive; for local jobs also a path.
        role: the role of its container; local jobs need none.
        entry_point: a script that serves it; None: that in the archive, or the container's defaults.
        framework_version, py_version: of the image; needed on AWS, unless `image_uri` is given.
        image_uri: an image of one's own.
        name: the model's name; None: one is made.
        env: variables of the container.
        sagemaker_session: the account; None: a new session.
    """

    def __init__(
        self,
        model_data: str,
        role: str | None = None,
        entry_point: str | None = None,
        framework_version: str | None = None,
        py_version: str | None = None,
        image_uri: str | None = None,
        name: str | None = None,
        env: Mapping[str, str] | None = None,
        sagemaker_session: Session | None = None,
    ) -> None:
        self.model_data = model_data
        self.role = role
        self.entry_point = entry_point
        self.framework_version = framework_version
        self.py_version = py_version
        self.image_uri = image_uri
        self.name = name
        self.env = dict(env or {})
        self.sagemaker_session = sagemaker_session

    def transformer(
        self,
        instance_count: int = 1,
        instance_type: str = INSTANCE_TYPE,
        strategy: str | None = None,
        assemble_with: str | None = None,
        output_path: str | None = None,
        output_kms_key: str | None = None,
        accept: str | None = None,
        env: Mapping[str, str] | None = None,
        max_concurrent_transforms: int | None = None,
        max_payload: int | None = None,
        tags: Tags = None,
        volume_kms_key: str | None = None,
    ) -> Transformer:
        """Creates the model, and returns a Transformer for it; the arguments are those of :class:`Transformer`, in the SDK's
        order.

        Raises:
            ConfigError: an argument is wrong or lacks.
            InputError: there is no such archive.
            ServiceError: AWS refused.
        """
        session = choose_session(self.sagemaker_session, instance_type)
        return Transformer(
            self._create(session, instance_type, tags),
            instance_count,
            instance_type,
            strategy=strategy,
            assemble_with=assemble_with,
            output_path=output_path,
            output_kms_key=output_kms_key,
            accept=accept,
            max_concurrent_transforms=max_concurrent_transforms,
            max_payload=max_payload,
            tags=tags,
            env=env,
            sagemaker_session=session,
            volume_kms_key=volume_kms_key,
        )

    def _create(self, session: Session, instance_type: str, tags: Tags) -> str:
        """CreateModel; returns the model's name."""
        image = self.image_uri or (
            LOCAL_INFERENCE
            if run_locally(instance_type)
            else image_uris.image_uri(
                image_uris.INFERENCE,
                session.boto_region_name,
                framework_version=self.framework_version,
                py_version=self.py_version,
                instance_type=instance_type,
            )
        )
        name = self.name or jobs.make_name(base_name(image))
        role = (self.role or LOCAL_ROLE) if session.local_mode else session.expand_role(self.role)
        model, program = self.model_data, ""
        if self.entry_point is not None:
            model, program = self._add_code(session, name, self.entry_point)
        elif not session.local_mode:
            model, program = upload_servable(session, model, name)
        environment = dict(self.env)
        if program:
            environment.update({PROGRAM_VARIABLE: program, "SAGEMAKER_SUBMIT_DIRECTORY": SERVED_CODE})
        request = model_request(name, role, image, model, environment, tags=tags)
        with translating_errors(f"creating the model {name}"):
            session.sagemaker_client.create_model(**request)
        return name

    def _add_code(self, session: Session, name: str, entry_point: str) -> tuple[str, str]:
        """The URI of the archive with the script in it, and the script's name there."""
        script = Path(entry_point)
        if not script.is_file():
            raise ConfigError("there is no such script", code="no_entry_point", path=entry_point)
        uri = session.default_uri(name, MODEL_ARCHIVE)
        with tempfile.TemporaryDirectory() as folder:
            given, archive = Path(folder, MODEL_ARCHIVE), Path(folder, "new.tar.gz")
            session.fetch(self.model_data, given)
            repack_model(given, archive, code=None, keep_code=False, script=script)
            session.put(archive, uri, encrypt=True)
        return uri, script.name
