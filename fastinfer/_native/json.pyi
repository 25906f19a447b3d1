from typing import Any

from typing_extensions import Buffer, disjoint_base

@disjoint_base
class JsonParser:
    code: int
    def reset(self, body: Buffer, start: int = 0, stop: int = -1) -> None: ...
    def release(self) -> None: ...
    def parse(self, out: Any, start: int = 0, stop: int = -1) -> int: ...
    def parse_bodies(
        self,
        body: Buffer,
        bounds: list[tuple[int, int]],
        first: int,
        out: Any,
        start: int,
        row_shape: tuple[int, ...],
        any_shape: bool,
    ) -> list[int]: ...
    @property
    def position(self) -> int: ...
    @property
    def done(self) -> bool: ...
    @property
    def shape(self) -> tuple[int, ...]: ...

def read_json_lines(
    body: Buffer, start: int, stop: int, row_values: int, out: Any, filled: int
) -> tuple[int, int, int, int]: ...
