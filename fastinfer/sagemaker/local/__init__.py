"""SageMaker jobs carried out on this machine."""

from .client import LocalSession

__all__ = ["LocalSession"]
