"""Line ends: every target equals a few lines of Python."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastinfer import kernels

ISAS = kernels.available_isas()

texts = st.one_of(
    st.text(alphabet="a\n\r", max_size=300).map(str.encode),
    st.lists(st.sampled_from([b"a" * 31, b"0," * 40, b"\n", b"\r\n", b"\r"]), max_size=30).map(b"".join),
)


@pytest.mark.parametrize("isa", ISAS)
@given(text=texts, data=st.data())
def test_line_ends_are_found(isa: str, text: bytes, data: st.DataObject) -> None:
    starts = [0] + [match.end() for match in re.finditer(rb"\r\n|\r|\n", text)]
    lines = len([start for start in starts if start < len(text)])
    position = data.draw(st.integers(0, len(text)))
    assert kernels.count_lines(text, isa=isa) == lines
    assert kernels.find_line_start(text, position, isa=isa) == min([s for s in starts if s >= position] + [len(text)])


def test_a_range_outside_the_body_is_refused() -> None:
    with pytest.raises(ValueError, match="range"):
        kernels.count_lines(b"abc", 2, 9)
    with pytest.raises(ValueError, match="range"):
        kernels.find_line_start(b"abc", 4)
