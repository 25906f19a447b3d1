"""An endpoint on this machine: `fastinfer serve` as a process of its own, on loopback, and the Predictor that asks it."""

from __future__ import annotations

import atexit
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import InputError, ModelError, ServiceError
from ..missing import Missing
from ..session import Session

JSON = "application/json"
TIMEOUT_S = 60.0  # SageMaker's own for a request
POLL_S = 0.05
END_S = 30.0
_READY = re.compile(r" on http://([^\s,]+), ")


class LocalPredictor(Missing):
    """Asks an endpoint of this machine. Its process ends with :meth:`delete_endpoint`, or with this process.

    Args:
        session: a local session.
        model_name: of a model that CreateModel made.

    Attributes:
        endpoint_name: the name of the model.
        url: where the server listens.

    Raises:
        ModelError: where the server has ended instead of listening; with what it said.
    """

    def __init__(self, session: Session, model_name: str) -> None:
        self.endpoint_name = model_name
        self._folder = tempfile.TemporaryDirectory(prefix="fastinfer-endpoint-")
        container = session.sagemaker_client.describe_model(ModelName=model_name)["PrimaryContainer"]
        archive, log = Path(self._folder.name, "model.tar.gz"), Path(self._folder.name, "log.txt")
        session.fetch(container["ModelDataUrl"], archive)
        command = [sys.executable, "-m", "fastinfer.serve", "--model", str(archive), "--exact", "--port", "0"]
        with open(log, "wb") as stderr:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **container.get("Environment", {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
        atexit.register(self.delete_endpoint)
        self.url = f"http://{self._wait(log)}/invocations"

    def _wait(self, log: Path) -> str:
        while True:
            ended = self._process.poll() is not None
            said = log.read_text(encoding="utf-8", errors="replace")
            ready = _READY.search(said)
            if ready is not None:
                return ready[1]
            if ended:
                self.delete_endpoint()
                raise ModelError(f"the endpoint did not start: {said.strip()[-1000:]}")
            time.sleep(POLL_S)

    def predict(self, data: Any, initial_args: Mapping[str, str] | None = None) -> Any:
        """The answer to one request.

        Args:
            data: bytes or text, sent as they are; an array or lists, sent as JSON, as the SDK's predictor for MXNet does.
            initial_args: ``ContentType`` and ``Accept``, both JSON where they are left out.

        Returns:
            of JSON what it holds; of other types the bytes.

        Raises:
            InputError: ``bad_input``: the server refused the request; with what it said.
            ModelError: the model, or its code, failed; with what the server said.
            ServiceError: ``aws_unreachable``: the endpoint was deleted, or its process has ended.
        """
        arguments = {"ContentType": JSON, "Accept": JSON, **(initial_args or {})}
        if isinstance(data, str):
            data = data.encode()
        elif not isinstance(data, (bytes, bytearray)):
            data = json.dumps(data.tolist() if hasattr(data, "tolist") else data).encode()
        headers = {"Content-Type": arguments["ContentType"], "Accept": arguments["Accept"]}
        request = urllib.request.Request(self.url, bytes(data), headers)
        # Not through a proxy: the server is on loopback.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=TIMEOUT_S) as reply:
                answer, found = reply.read(), reply.headers.get_content_type()
        except urllib.error.HTTPError as error:
            said = error.read().decode("utf-8", "replace").strip()
            if error.code >= 500:
                raise ModelError(f"{error.code}: {said}") from error
            raise InputError(f"{error.code}: {said}", code="bad_input") from error
        except (OSError, http.client.HTTPException) as error:  # the latter for an answer that breaks off
            raise ServiceError(f"the endpoint does not answer: {error}", code="aws_unreachable") from error
        return json.loads(answer) if found == JSON else answer

    def delete_endpoint(self, delete_endpoint_config: bool = True) -> None:
        """Ends the server; may be called again. `delete_endpoint_config` is accepted, there is none here."""
        del delete_endpoint_config
        atexit.unregister(self.delete_endpoint)
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._folder.cleanup()
