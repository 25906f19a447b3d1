"""The roles that an account's credentials, a notebook and IAM tell of."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Callable

from ..errors import ServiceError, quote
from ..storage.aws import translating_errors

# Notebook instances and Studio describe themselves in this file.
NOTEBOOK_METADATA = Path("/opt/ml/metadata/resource-metadata.json")

# boto3's client for a service.
Client = Callable[[str], Any]


def caller_identity_arn(client: Client) -> str:
    """The ARN of this notebook's role, else of the credentials' role, else of the credentials' user. Raises ServiceError."""
    role = _notebook_role(client)
    if role:
        return role
    sts = client("sts")
    with translating_errors("the AWS identity"):
        arn = str(sts.get_caller_identity()["Arn"])
    assumed = re.match(r"^(.+)sts::(\d+):assumed-role/(.+?)/.*$", arn)
    if assumed is None:
        return arn
    # An assumed role's ARN lacks the role's path, which only IAM knows.
    try:
        return role_arn(client, assumed[3])
    except ServiceError:
        path = "service-role/" if "AmazonSageMaker-ExecutionRole" in assumed[3] else ""
        return f"{assumed[1]}iam::{assumed[2]}:role/{path}{assumed[3]}"


def role_arn(client: Client, name: str) -> str:
    """The ARN of a role, by its name. Raises ServiceError."""
    iam = client("iam")
    with translating_errors(f"the role {quote(name)}"):
        return str(iam.get_role(RoleName=name)["Role"]["Arn"])


def _notebook_role(client: Client) -> str | None:
    try:
        facts = json.loads(NOTEBOOK_METADATA.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(facts, dict):
        return None
    if facts.get("ExecutionRoleArn"):
        return str(facts["ExecutionRoleArn"])
    try:
        with translating_errors("the notebook's role"):
            sagemaker = client("sagemaker")
            if not facts.get("DomainId"):
                answer = sagemaker.describe_notebook_instance(NotebookInstanceName=facts.get("ResourceName", ""))
                return str(answer["RoleArn"])
            user = sagemaker.describe_user_profile(
                DomainId=facts["DomainId"], UserProfileName=facts.get("UserProfileName", "")
            )
            if user.get("UserSettings", {}).get("ExecutionRole"):
                return str(user["UserSettings"]["ExecutionRole"])
            domain = sagemaker.describe_domain(DomainId=facts["DomainId"])
            return str(domain["DefaultUserSettings"]["ExecutionRole"])
    except (ServiceError, KeyError):
        return None  # the credentials' own identity is used instead
