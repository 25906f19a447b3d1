"""Pages of a listing are asked for ahead, no further than is said, and no longer than somebody takes their entries."""

from __future__ import annotations

import threading
import time
import xml.etree.ElementTree as xml
from typing import Callable

import pytest

from fastinfer.storage.s3_listing import PAGES_AHEAD, Listed, Page, entries_of, parse_page


def pages(count: int, asked: list[str | None]) -> Callable[[str | None], Page]:
    def ask(token: str | None) -> Page:
        asked.append(token)
        number = int(token or 0)
        entries = [] if number % 3 == 1 else [Listed(f"{number}-{each}", each, b"") for each in range(2)]
        return Page(entries, str(number + 1) if number + 1 < count else None)

    return ask


def settled(asked: list[str | None]) -> int:
    count = -1
    while count != len(asked):
        count = len(asked)
        time.sleep(0.02)
    return count


@pytest.mark.parametrize("count", [1, 2, 3, 40])
def test_all_entries_come_in_order_also_after_empty_pages(count: int) -> None:
    asked: list[str | None] = []
    found = [entry.key for entry in entries_of(pages(count, asked))]
    assert found == [f"{number}-{each}" for number in range(count) if number % 3 != 1 for each in range(2)]
    assert asked == [None, *(str(number) for number in range(1, count))]


def test_pages_are_asked_for_ahead_but_not_all() -> None:
    asked: list[str | None] = []
    others = set(threading.enumerate())
    entries = entries_of(pages(1000, asked))
    assert [next(entries).key, next(entries).key] == ["0-0", "0-1"]
    (thread,) = (each for each in set(threading.enumerate()) - others if each.name == "fastinfer-listing")
    end = time.monotonic() + 30
    while len(asked) <= PAGES_AHEAD and time.monotonic() < end:
        time.sleep(0.001)
    assert PAGES_AHEAD < settled(asked) < 2 * PAGES_AHEAD + 2
    entries.close()
    thread.join(30)
    assert not thread.is_alive()
    assert len(asked) <= 2 * PAGES_AHEAD + 4


def test_the_first_name_costs_one_request() -> None:
    asked: list[str | None] = []
    entries = entries_of(pages(40, asked))
    assert next(entries).key == "0-0"
    assert settled(asked) == 1
    entries.close()


def test_an_error_is_raised_where_the_entries_would_be() -> None:
    def ask(token: str | None) -> Page:
        if token == "2":
            raise OSError(13, "not allowed")
        return Page([Listed(str(token), 0, b"")], "1" if token is None else "2")

    entries = entries_of(ask)
    assert [next(entries).key, next(entries).key] == ["None", "1"]
    with pytest.raises(OSError, match="not allowed"):
        next(entries)


def test_a_page_is_read_with_and_without_a_namespace_and_encoding() -> None:
    content = (
        "<ListBucketResult{}>{}<IsTruncated>true</IsTruncated><NextContinuationToken>a+b&amp;c</NextContinuationToken>"
        '<Contents><Key>b%2B+c</Key><Size>3</Size><ETag>"tag"</ETag></Contents>'
        "<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes></ListBucketResult>"
    )
    space = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
    encoded = parse_page(content.format(space, "<EncodingType>url</EncodingType>").encode())
    assert encoded == Page([Listed("a/", -1, b""), Listed("b+ c", 3, b"tag")], "a+b&c")
    assert parse_page(content.format("", "").encode()).entries[1].key == "b%2B+c"
    with pytest.raises(xml.ParseError):
        parse_page(content.encode()[:100])
