"""Rows that are cut at commas, beside Python's own split."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastinfer._native.rows import count_cells, cut_rows, join_rows

cell = st.text(st.sampled_from("ab1. -é\"'"), max_size=40).map(str.encode)
lines = st.lists(st.lists(cell, min_size=1, max_size=6), max_size=12)


@given(
    lines,
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.booleans(),
    st.sampled_from([None, b"#", b"b"]),
    st.sampled_from([b"", b"!", b"-1.7976931348623157e+308"]),
    st.data(),
)
def test_cells_are_those_of_split(
    rows: list[list[bytes]], end: bytes, ended: bool, comment: bytes | None, blank: bytes, data: st.DataObject
) -> None:
    body = end.join(map(b",".join, rows)) + (end if ended and rows else b"")
    whole = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    if whole[-1] == b"":
        whole.pop()
    texts = [line.partition(comment)[0] if comment else line for line in whole]
    filled = [line for line in texts if line.strip(b" \t")]
    count = len(filled[0].split(b",")) if filled else 0
    mark = comment[0] if comment else -1
    assert count_cells(body, comment=mark) == count
    if not count:
        return
    bound = st.tuples(st.integers(0, count - 1), st.integers(1, count)).filter(lambda pair: pair[0] < pair[1])
    kept = data.draw(st.lists(bound, min_size=1, max_size=3))
    piece = data.draw(st.lists(bound, min_size=1, max_size=3))
    out = bytearray(b"\0" * 7)
    stop, pieces, starts, unequal, blanks, found = cut_rows(
        body, 0, len(body), count, kept, [piece, kept], out, 7, mark, blank
    )

    def pick(line: bytes, ranges: list[tuple[int, int]]) -> bytes:
        cells = line.split(b",")
        return b",".join(b",".join(cells[first:last]) for first, last in ranges)

    expected, joined, odd, blank_lines, right = [], [], {}, set(), 0
    for index, line in enumerate(texts):
        cells = len(line.split(b",")) if line.strip(b" \t") else 0
        if cells == count:
            right += 1
            text = pick(line, kept)
            if not text.strip(b" \t"):
                blank_lines.add(index)
                text = blank
            expected.append(text)
            joined += [pick(line, piece), pick(line, kept)]
        else:
            expected.append(b"!" if cells else b"")
            if cells:
                odd[index] = cells
    assert bytes(out[7:stop]) == b"".join(each + b"\n" for each in expected)
    assert (pieces, unequal, len(starts), blanks, found) == (joined, odd, len(whole), blank_lines, right)
    assert [body[start:].startswith(line) for start, line in zip(starts, whole)] == [True] * len(whole)


@given(st.lists(st.lists(st.sampled_from([b"0.5", b"1", b"nan"]), min_size=3, max_size=3), max_size=9))
def test_pieces_stand_where_the_plan_has_them(rows: list[list[bytes]]) -> None:
    predictions = b"".join(b",".join(row) + b"\n" for row in rows)
    pieces = [b"%d,x" % number for number in range(2 * len(rows))]
    expected = [
        b",".join([*row[2:], pieces[2 * number], *row[:2], pieces[2 * number + 1]]) for number, row in enumerate(rows)
    ]
    assert join_rows(pieces, predictions, [(2, 3), None, (0, 2), None], 3) == b"".join(
        line + b"\n" for line in expected
    )


def test_wrong_arguments_are_refused() -> None:
    for arguments in ((b"1,2", 0, 4, 2), (b"1,2", 2, 1, 2), (b"1,2", -1, 3, 2)):
        with pytest.raises(ValueError, match="outside of the buffer"):
            cut_rows(*arguments, [(0, 1)], [], bytearray())
    for ranges in ([(0, 3)], [(1, 1)], [(-1, 1)]):
        with pytest.raises(ValueError, match="are not among 2"):
            cut_rows(b"1,2", 0, 3, 2, ranges, [], bytearray())
    for text in (b"1\n", b"1,2,3\n", b"1,2\n1,2,3\n"):  # also more: nothing of an answer is left out
        with pytest.raises(ValueError, match=r"a prediction has [13] columns, not 2"):
            join_rows([], text, [(0, 2)], 2)
    for wrong in ((1, 1), (0, 2)):
        with pytest.raises(ValueError, match="is empty"):
            join_rows([], b"1\n", [wrong], 1)
    with pytest.raises(ValueError, match="outside of the buffer"):
        count_cells(b"1", 0, 2)
