"""COUNT random float32 bit patterns (default 10**8) printed by format_json against json.dumps: some minutes.

Run by hand: ``python tests/native/exhaust_json.py [COUNT] [SEED]``.
"""

import json
import sys
import time

import numpy as np

from fastinfer import kernels

CHUNK = 1_000_000


def main(count: int = 10**8, seed: int = 0) -> int:
    rng = np.random.default_rng(seed)
    started = time.monotonic()
    for done in range(0, count, CHUNK):
        rows = rng.integers(0, 2**32, (CHUNK // 10, 10), np.uint32).view(np.float32)
        if kernels.format_json(rows) != json.dumps(rows.tolist()).encode():
            wrong = next(row for row in rows[:, None] if kernels.format_json(row) != json.dumps(row.tolist()).encode())
            print(f"seed {seed}, chunk at {done}: {kernels.format_json(wrong)!r}, json.dumps {wrong.tolist()!r}")
            return 1
    print(f"{count} random float32, seed {seed}: all as json.dumps, {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:3])))
