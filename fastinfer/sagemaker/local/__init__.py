"""SageMaker jobs that run on this machine."""

from .session import LocalSession

__all__ = ["LocalSession"]
