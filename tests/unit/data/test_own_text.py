"""People's text: documents, the mixture, and what is wrong with a file."""

from __future__ import annotations

import gzip
import json

import pytest

from camelid.data.own_text import Document, documents, read_factors, repeats, text_files
from camelid.data.text_files import as_line, from_line
from camelid.errors import ConfigError, DataError, MissingInputError


def texts(path, most=30):
    return [document.text for document in documents(path, most)]


@pytest.mark.parametrize("text", ["a\nb", "a\\nb", "\\", "\r\n\\", "plain", "\\\\n\n"])
def test_a_text_of_several_lines_survives_on_one(text):
    line = as_line(text)
    assert "\n" not in line
    assert "\r" not in line
    assert from_line(line) == text


def test_plain_text_is_cut_between_paragraphs(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one one one one\ntwo two two two\n\nthree\n\nfour\n", encoding="utf-8")
    # 32 characters are gathered when the first paragraph ends, which the limit of 30 lets end.
    assert texts(path) == ["one one one one\ntwo two two two", "three\n\nfour"]
    assert texts(path, 1_000) == ["one one one one\ntwo two two two\n\nthree\n\nfour"]


def test_a_marked_end_ends_a_document(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one\n<|endoftext|>\ntwo\n", encoding="utf-8")
    assert texts(path, 1_000) == ["one", "two"]


@pytest.mark.parametrize("variant", ["plain", "bom", "crlf", "gzip"])
def test_every_variant_gives_the_same_documents(tmp_path, variant):
    rows = ("".join(json.dumps({"text": text}) + "\n" for text in ("one\ntwo", "three"))).encode()
    plain = b"one\ntwo\n\nthree\n"
    for name, content in (("rows.jsonl", rows), ("plain.txt", plain)):
        packed = {
            "plain": content,
            "bom": b"\xef\xbb\xbf" + content,
            "crlf": content.replace(b"\n", b"\r\n"),
            "gzip": gzip.compress(content),
        }[variant]
        path = tmp_path / (f"{name}.gz" if variant == "gzip" else name)
        path.write_bytes(packed)
        assert texts(path, 1) == ["one\ntwo", "three"]


def test_the_part_is_the_folder_or_the_file(tmp_path):
    for name in ("books/a/x.txt", "books/y.txt.gz", "web.jsonl", "notes.md"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    found = {path.relative_to(tmp_path).as_posix(): part
             for path, part in text_files(tmp_path).items()}  # fmt: skip
    assert found == {"books/a/x.txt": "books", "books/y.txt.gz": "books", "web.jsonl": "web"}
    # A file that is named is read, whatever its name.
    assert list(text_files(tmp_path / "notes.md").values()) == ["notes"]


def test_a_factor_is_that_many_times_the_documents():
    factors = {"books": 2.25, "web": 0.5, "left": 0.0}
    for part, factor in {**factors, "other": 1.0}.items():
        counts = [repeats(Document(part, f"text {number}"), factors) for number in range(4_000)]
        assert set(counts) <= {int(factor), int(factor) + 1}
        # Four standard deviations of 4,000 draws at most.
        assert sum(counts) / 4_000 == pytest.approx(factor, abs=0.032)


def test_factors_name_parts_and_numbers(tmp_path):
    (tmp_path / "books.txt").write_text("x")
    parts = text_files(tmp_path)
    assert read_factors(("books=1.5",), parts) == {"books": 1.5}
    with pytest.raises(ConfigError, match=r"'bokos=2' names no part.*Did you mean 'books'"):
        read_factors(("bokos=2",), parts)
    for word in ("books=many", "books=-1", "books=nan"):
        with pytest.raises(ConfigError, match=r"needs a factor from 0 to 1,000"):
            read_factors((word,), parts)


def test_wrong_files_are_named(tmp_path):
    with pytest.raises(MissingInputError, match=r"no file of text"):
        text_files(tmp_path)
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n{"txt": "b"}\n')
    with pytest.raises(DataError, match=r"a\.jsonl, line 2: needs the text field 'text'"):
        texts(path)
