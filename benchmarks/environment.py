"""The environment in which the benchmarks were started: that of a user.

fastinfer sets variables of MXNet in its own process, and so does what the tests share. Programs that are timed in processes of
their own do without them: a script beside which fastinfer is measured would run in one thread, or on another engine.
"""

from __future__ import annotations

import os

AS_STARTED = dict(os.environ)
