"""SageMaker jobs carried out on this machine."""

from .session import LocalSession

__all__ = ["LocalSession"]
