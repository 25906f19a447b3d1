"""A session without AWS: its service records requests and gives prepared answers, its S3 is a dict."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from fastinfer.sagemaker import Session


class Service:
    """A client that records each call, and gives the answers it was given; an error among them is raised.

    Args:
        answers: of calls by their name; a list is given one by one, the last one again and again.
    """

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        def call(**request: Any) -> Any:
            self.calls.append((name, request))
            answer = self.answers.get(name, {})
            if isinstance(answer, list):
                answer = answer.pop(0) if len(answer) > 1 else answer[0]
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return call

    def requests(self, name: str) -> list[dict[str, Any]]:
        return [request for called, request in self.calls if called == name]


class Put(NamedTuple):
    uri: str
    kms_key: str | None
    encrypt: bool


class Account(Session):
    """A session of an account with nothing behind it; its default bucket is ``bucket``."""

    late_logs = False

    def __init__(self, objects: dict[str, bytes] | None = None, **answers: Any) -> None:
        self.service = Service(**answers)
        self.shown = io.StringIO()
        self.objects = dict(objects or {})
        self.puts: list[Put] = []
        super().__init__(sagemaker_client=self.service, region="us-west-2", poll_seconds=0, stream=self.shown)

    def default_bucket(self) -> str:
        return "bucket"

    def fetch(self, uri: str, target: Path) -> None:
        target.write_bytes(self.objects[uri])

    def put(self, source: Path | bytes, uri: str, *, kms_key: str | None = None, encrypt: bool = False) -> str:
        self.objects[uri] = source if isinstance(source, bytes) else source.read_bytes()
        self.puts.append(Put(uri, kms_key, encrypt))
        return uri


class Credentials:
    """A boto3 session of given credentials, and the clients that it makes."""

    def __init__(self, token: str | None = None, region: str | None = "eu-west-1", **services: Service) -> None:
        self.region_name = region
        self.services = services
        self.made: list[tuple[str, str]] = []
        self._frozen = SimpleNamespace(access_key="A", secret_key="S", token=token)

    def get_credentials(self) -> Any:
        return SimpleNamespace(get_frozen_credentials=lambda: self._frozen)

    def client(self, service: str, *, region_name: str, config: object) -> Any:
        assert config is not None
        self.made.append((service, region_name))
        return self.services[service]
