"""What changes files within their forms: a file that is taken apart and put together is the same, and what is changed fits."""

from __future__ import annotations

import contextlib
import json
import random

import pytest

from fastinfer.storage import journal
from tests.fuzz.forms import FORMS, change
from tests.fuzz.forms.archives import change_tar, compress, expand, parse_tar
from tests.fuzz.forms.binary import parse_message, print_message
from tests.fuzz.forms.texts import change_journal, parse_json, print_json
from tests.fuzz.targets import CASE_BYTES, corpus

CHANGES = 50


def test_a_document_keeps_its_tokens_and_equal_names() -> None:
    text = '{"a": [1.50, -0, 1e400, NaN, "\\ud800\\u00e9"], "a": {}, "b": null}'
    assert print_json(parse_json(text.encode())) == text.encode()


@pytest.mark.parametrize("name", ["graph", "certificate", "job", "manifest", "run_record", "checkpoint_record"])
def test_most_changed_documents_are_documents(name: str) -> None:
    documents = [content for content in corpus(name) if content.lstrip()[:1] in (b"{", b"[")]
    random_ = random.Random(1)
    changed = {change(name, random_, random_.choice(documents), documents) for _ in range(CHANGES)}
    count = 0
    for content in changed:
        with contextlib.suppress(ValueError):  # of a number such as 00
            json.loads(content)
            count += 1
    assert count > CHANGES // 2


def test_messages_of_onnx_are_put_together_as_they_were() -> None:
    for content in corpus("onnx"):
        assert print_message(parse_message(content)) == content


def test_headers_of_changed_archives_have_their_checksums() -> None:
    random_ = random.Random(1)
    count = 0
    for _ in range(CHANGES):
        kept = random_.choice(corpus("tar"))
        original, _ = parse_tar(kept)[0]
        content = change_tar(random_, kept, corpus("tar"))
        header, _ = parse_tar(content)[0]  # a changed size leads to another place than the next one's
        if header[148:156] != original[148:156]:
            count += 1
            assert int(header[148:154], 8) == sum(header[:148] + b" " * 8 + header[156:])
    assert count > CHANGES // 10


@pytest.mark.parametrize("kind", ["plain", "gzip", "bzip2", "xz", "zstd"])
def test_what_is_compressed_is_expanded(kind: str) -> None:
    content = bytes(range(256)) * 4
    assert expand(compress(random.Random(4), content, kind)) == (content, kind)


def test_entries_of_a_changed_journal_have_their_lengths() -> None:
    random_ = random.Random(1)
    for _ in range(CHANGES):
        content = change_journal(random_, random_.choice(corpus("label_log")), corpus("label_log"))
        lines = content.splitlines(keepends=True)
        assert len(list(journal.entries_of(lines))) == len(lines)


@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_that_of_a_kept_input(name: str) -> None:
    """Else the inputs are changed as bytes, and nobody sees it."""
    kept = corpus(name)
    found = []
    for random_ in (random.Random(1), random.Random(1)):
        changed = []
        for number in range(len(kept) * CHANGES):
            with contextlib.suppress(ValueError, RecursionError):
                changed.append(FORMS[name](random_, kept[number % len(kept)], kept)[:CASE_BYTES])
        found.append(changed)
    assert found[0] == found[1]
    assert len(set(found[0])) > CHANGES // 3
