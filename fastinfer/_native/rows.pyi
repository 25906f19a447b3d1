from typing_extensions import Buffer

_Ranges = list[tuple[int, int]]

def count_cells(body: Buffer, start: int = 0, stop: int = -1, comment: int = -1) -> int: ...
def cut_rows(
    body: Buffer,
    start: int,
    stop: int,
    columns: int,
    kept: _Ranges,
    pieces: list[_Ranges],
    out: bytearray,
    at_byte: int = 0,
    comment: int = -1,
    blank: bytes = b"!",
) -> tuple[int, list[bytes], list[int], dict[int, int], set[int], int]: ...
def join_rows(pieces: list[bytes], predictions: Buffer, plan: list[tuple[int, int] | None], columns: int) -> bytes: ...
