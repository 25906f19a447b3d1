"""The role of credentials, of a notebook and of a name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fastinfer.errors import ConfigError, ServiceError
from fastinfer.sagemaker import Session, get_execution_role, roles
from tests.sagemaker.fakes import Credentials, Service


@pytest.fixture(autouse=True)
def _no_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine is no notebook of SageMaker's, and no role is named."""
    monkeypatch.setattr(roles, "NOTEBOOK_METADATA", tmp_path / "no-notebook.json")
    monkeypatch.delenv("SAGEMAKER_ROLE", raising=False)


def identified(arn: str, **iam: Any) -> Session:
    return Session(Credentials(sts=Service(get_caller_identity={"Arn": arn, "Account": 12}), iam=Service(**iam)))


MISSING = ServiceError("no", code="aws_missing")


@pytest.mark.parametrize(
    ("name", "answer", "expected"),
    [
        ("worker", {"Role": {"Arn": "arn:aws:iam::12:role/a/path/worker"}}, "arn:aws:iam::12:role/a/path/worker"),
        # Where IAM does not answer, the path is one that SageMaker's console gives, or none.
        ("worker", MISSING, "arn:aws:iam::12:role/worker"),
        (
            "AmazonSageMaker-ExecutionRole-1",
            MISSING,
            "arn:aws:iam::12:role/service-role/AmazonSageMaker-ExecutionRole-1",
        ),
    ],
)
def test_an_assumed_role_is_the_role_itself(name: str, answer: Any, expected: str) -> None:
    found = identified(f"arn:aws:sts::12:assumed-role/{name}/me", get_role=answer)
    assert found.get_caller_identity_arn() == expected
    assert get_execution_role(found) == expected


def test_a_user_is_no_role() -> None:
    user = identified("arn:aws:iam::12:user/me")
    assert (user.get_caller_identity_arn(), user.account_id()) == ("arn:aws:iam::12:user/me", "12")
    with pytest.raises(
        ConfigError, match="expected the credentials of a role, found arn:aws:iam::12:user/me"
    ) as caught:
        get_execution_role(user)
    assert caught.value.code == "no_role"


NOTEBOOK_ANSWERS: dict[str, dict[str, Any]] = {
    "describe_notebook_instance": {"RoleArn": "of the instance"},
    "describe_user_profile": {"UserSettings": {"ExecutionRole": "of the user"}},
    "describe_domain": {"DefaultUserSettings": {"ExecutionRole": "of the domain"}},
}


@pytest.mark.parametrize(
    ("metadata", "answers", "expected"),
    [
        ({"ExecutionRoleArn": "of Studio", "DomainId": "d"}, {}, "of Studio"),
        ({"ResourceName": "notebook"}, {}, "of the instance"),
        ({"DomainId": "d", "UserProfileName": "me"}, {}, "of the user"),
        ({"DomainId": "d"}, {"describe_user_profile": {"UserSettings": {}}}, "of the domain"),
        ({"DomainId": "d"}, {"describe_user_profile": {}}, "of the domain"),
        # What is not answered leaves the credentials' own identity.
        ({"ResourceName": "notebook"}, {"describe_notebook_instance": MISSING}, "arn:aws:iam::12:user/me"),
        ({"DomainId": "d"}, {"describe_user_profile": {}, "describe_domain": {}}, "arn:aws:iam::12:user/me"),
        (["a list"], {}, "arn:aws:iam::12:user/me"),
    ],
)
def test_a_notebooks_role_is_found_as_its_kind_has_it(
    metadata: Any, answers: dict[str, Any], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roles, "NOTEBOOK_METADATA", tmp_path / "metadata.json")
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    found = identified("arn:aws:iam::12:user/me")
    found._clients["sagemaker"] = Service(**{**NOTEBOOK_ANSWERS, **answers})
    assert found.get_caller_identity_arn() == expected
