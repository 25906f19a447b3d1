"""MXNetModel of SageMaker's SDK: a saved model, with serving code or without, for transform jobs."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from ..errors import ConfigError
from ..models.code import PROGRAM_VARIABLE
from . import image_uris, jobs
from .code_archive import MODEL_ARCHIVE, repack_model
from .deployment import Creation, Deployable
from .image_uris import LOCAL_INFERENCE, base_name
from .local.session import run_locally
from .requests import SERVED_CODE, Request, model_request
from .session import LOCAL_ROLE, Session
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

    def _model_request(self, session: Session, asked: Creation) -> Request:
        image = self.image_uri or (
            LOCAL_INFERENCE
            if run_locally(asked.instance_type)
            else image_uris.image_uri(
                image_uris.INFERENCE,
                session.boto_region_name,
                framework_version=self.framework_version,
                py_version=self.py_version,
                instance_type=asked.instance_type,
            )
        )
        name = asked.model_name or self.name or jobs.make_name(base_name(image))
        role = asked.role or self.role
        role = (role or LOCAL_ROLE) if session.local_mode else session.expand_role(role)
        entry_point = asked.entry_point or self.entry_point
        model, program = self.model_data, ""
        if entry_point is not None:
            model, program = self._add_code(session, name, entry_point)
        elif not session.local_mode:
            model, program = upload_servable(session, model, name)
        environment = {**self.env, **asked.environment}
        if program:
            environment.update({PROGRAM_VARIABLE: program, "SAGEMAKER_SUBMIT_DIRECTORY": SERVED_CODE})
        isolated = bool(asked.enable_network_isolation)
        return model_request(name, role, image, model, environment, tags=asked.tags, enable_network_isolation=isolated)

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
