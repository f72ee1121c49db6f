"""The streaming multipart reader: the same files however the body is cut into pieces, and bounded memory."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.properties import examples
from web_tier.domain import multipart
from web_tier.domain.memory import SpooledFile
from web_tier.domain.multipart import UploadFormatError, boundary_of, read_files

BOUNDARY = b"xyz"
Read = list[tuple[str, int, bytes]]


def encode(files: Sequence[tuple[str, bytes]], boundary: bytes = BOUNDARY) -> bytes:
    parts = b"".join(
        b'--%s\r\nContent-Disposition: form-data; name="f"; filename="%s"\r\nContent-Type: image/jpeg\r\n\r\n%s\r\n'
        % (boundary, name.encode(), content)
        for name, content in files
    )
    return parts + b"--%s--\r\n" % boundary


class Dripping:
    """A stream that hands out its bytes in pieces of given sizes, then in whatever size is asked for."""

    def __init__(self, body: bytes, sizes: Sequence[int] = ()) -> None:
        self._file = io.BytesIO(body)
        self._sizes = list(sizes)

    def read(self, size: int = -1, /) -> bytes:
        return self._file.read(min(size, self._sizes.pop(0)) if self._sizes else size)


def read(body: bytes, sizes: Sequence[int] = (), max_file_bytes: int = 10**6, max_parts: int = 1000) -> Read:
    found = []
    for file in read_files(Dripping(body, sizes), BOUNDARY, max_file_bytes, max_parts):
        with file.body:
            found.append((file.filename, file.size_bytes, file.body.read()))
    return found


# Contents made of pieces of the delimiter itself are the hard ones.
pieces = st.sampled_from([b"\r", b"\n", b"\r\n", b"-", b"--", b"--xyz", b"\r\n--xy", b"\r\n-", b"xyz", b"a", b"\0"])
contents = st.lists(pieces, max_size=12).map(b"".join).filter(lambda content: b"\n--xyz" not in b"\n" + content)
contents = contents.filter(lambda content: b"\r--xyz" not in content)


@settings(max_examples=examples(3))
@example([b"A"], [1] * 200)
@given(st.lists(contents.filter(bool), max_size=4), st.lists(st.integers(1, 9), max_size=300))
def test_where_the_body_is_cut_makes_no_difference(bodies: list[bytes], sizes: list[int]) -> None:
    files = [(f"{index}.jpg", content) for index, content in enumerate(bodies)]
    assert read(encode(files), sizes) == [(name, len(content), content) for name, content in files]


@given(st.binary(max_size=300))
def test_any_bytes_are_files_or_a_format_error(junk: bytes) -> None:
    for body in (junk, b"--xyz\r\n" + junk, b'--xyz\r\ncontent-disposition: form-data; filename="a"\r\n\r\n' + junk):
        try:
            read(body)
        except UploadFormatError as error:
            assert str(error)


def test_every_single_cut_makes_no_difference() -> None:
    files = [("a.jpg", b"A\r\n"), ("b.jpg", b"\r\n--xy")]
    body = encode(files)
    for cut in range(1, len(body)):
        assert read(body, [cut]) == [(name, len(content), content) for name, content in files]


@pytest.mark.parametrize("kept", range(0, 260, 7))
def test_a_body_that_ends_early_yields_the_complete_files_and_an_error(kept: int) -> None:
    body = encode([("a.jpg", b"A" * 30), ("b.jpg", b"B" * 30)])
    found = []
    with pytest.raises(UploadFormatError):
        for file in read_files(Dripping(body[: min(kept, len(body) - 5)]), BOUNDARY, 10**6, 10):
            found.append(file.filename)
            file.body.close()
    assert found == ["a.jpg", "b.jpg"][: len(found)]


def test_a_file_above_the_limit_is_drained_and_the_next_ones_are_read() -> None:
    files = [("long.jpg", b"x" * 500_000), ("a.jpg", b"A" * 1000), ("edge.jpg", b"B" * 1001)]
    found = {name: (size, len(content)) for name, size, content in read(encode(files), max_file_bytes=1000)}
    assert found["a.jpg"] == (1000, 1000)
    assert found["long.jpg"][0] == 500_000
    assert found["long.jpg"][1] <= 1000
    assert found["edge.jpg"][0] == 1001


def test_memory_stays_flat_however_long_the_body() -> None:
    part = encode([("a.jpg", b"x" * 400_000)]).removesuffix(b"--xyz--\r\n")

    class Endless:
        def __init__(self) -> None:
            self.left = [part] * 100
            self.rest = b""

        def read(self, size: int = -1, /) -> bytes:
            if not self.rest:
                self.rest = self.left.pop() if self.left else b""
            data, self.rest = self.rest[:size], self.rest[size:]
            return data

    tracemalloc.start()
    with pytest.raises(UploadFormatError):
        for file in read_files(Endless(), BOUNDARY, 10**6, 1000):
            file.body.close()
    _now, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 4_000_000


def test_fields_and_the_empty_file_input_are_no_files() -> None:
    body = (
        b'--xyz\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
        b'--xyz\r\nContent-Disposition: form-data; name="f"; filename=""\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n\r\n" + encode([("a.jpg", b"A")])
    )
    assert read(body) == [("a.jpg", 1, b"A")]


def test_an_empty_file_with_a_name_is_a_file() -> None:
    assert read(encode([("empty.jpg", b"")])) == [("empty.jpg", 0, b"")]


@pytest.mark.parametrize("raw", ["a\\", "\\", 'a\\"b'])
def test_a_name_that_breaks_the_quoting_is_still_a_file(raw: str) -> None:
    ((_name, size, content),) = read(encode([(raw, b"A")]))
    assert (size, content) == (1, b"A")


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("%22quoted%22.jpg", '"quoted".jpg'),
        ("Übung 犬.jpg", "Übung 犬.jpg"),
        ("set_1/a.jpg", "set_1/a.jpg"),
        ("set_1\\a.jpg", "set_1\\a.jpg"),
        ("set_1\\\\a.jpg", "set_1\\a.jpg"),
        ('\\"a\\".jpg', '"a".jpg'),
    ],
)
def test_names_are_read_as_browsers_and_programs_write_them(raw: str, name: str) -> None:
    assert read(encode([(raw, b"A")]))[0][0] == name


@pytest.mark.parametrize("encoding", ["cp1252", "gbk", "shift_jis", "utf-16-le"])
def test_a_name_that_is_not_utf8_costs_its_odd_characters_only(encoding: str) -> None:
    names = {"cp1252": "café.jpg", "gbk": "照片.jpg", "shift_jis": "表の写真.jpg", "utf-16-le": "é.jpg"}
    odd = names[encoding].encode(encoding)
    body = encode([("one.jpg", b"1"), ("odd", b"2"), ("three.jpg", b"3")]).replace(b'"odd"', b'"' + odd + b'"')
    found = read(body)
    assert [content for _name, _size, content in found] == [b"1", b"2", b"3"]
    assert "\ufffd" in found[1][0] and (encoding == "utf-16-le" or found[1][0].endswith(".jpg"))


def part(headers: bytes, content: bytes) -> bytes:
    return b"--xyz\r\n" + headers + b"\r\n\r\n" + content + b"\r\n"


@pytest.mark.parametrize(
    ("headers", "content", "name"),
    [
        pytest.param(b'Content-Disposition: form-data; name="photo"', b"\xff\xd8", "photo", id="not text"),
        pytest.param(b'Content-Disposition: form-data; name="photo"', b"BM\0\0", "photo", id="with a NUL"),
        pytest.param(
            b'Content-Disposition: form-data; name="photo"\r\nContent-Type: image/jpeg', b"text", "photo", id="typed"
        ),
        pytest.param(b"Content-Disposition: form-data", b"\xff\xd8", "unnamed", id="no field"),
        pytest.param(b"Content-Type: image/jpeg", b"\xff\xd8", "unnamed", id="no disposition"),
        pytest.param(b'Content-Disposition: form-data; name="note"', "naïve é".encode(), None, id="text"),
        pytest.param(b'Content-Disposition: form-data; name="note"', b"x" * 511 + "é".encode(), None, id="cut text"),
        pytest.param(b'Content-Disposition: form-data; name="note"', b"", None, id="empty"),
    ],
)
def test_a_part_without_a_file_name_is_a_file_unless_it_is_text(
    headers: bytes, content: bytes, name: str | None
) -> None:
    found = read(part(headers, content) + encode([("a.jpg", b"A")]))
    assert found == [*([(name, len(content), content)] if name else []), ("a.jpg", 1, b"A")]


def test_an_encoded_file_name_is_read() -> None:
    headers = b"Content-Disposition: form-data; name=f; filename=\"cat.jpg\"; filename*=UTF-8''%E7%8C%AB%2Fa.jpg"
    assert read(part(headers, b"A") + encode([]))[0][0] == "猫/a.jpg"


def test_too_many_parts_and_endless_headers_are_refused() -> None:
    with pytest.raises(UploadFormatError, match="more than 2 parts"):
        read(encode([("a", b"A")] * 3), max_parts=2)
    with pytest.raises(UploadFormatError):
        read(b"--xyz\r\nX-Long: " + b"x" * 1_000_000)
    with pytest.raises(UploadFormatError):
        read(b"preamble" * 1_000_000)


def test_an_abandoned_reading_closes_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def spooled() -> SpooledFile:
        opened.append(SpooledFile())
        return opened[-1]

    monkeypatch.setattr(multipart, "SpooledFile", spooled)
    with pytest.raises(UploadFormatError):
        read(encode([("a.jpg", b"A" * 100)])[:-60])
    assert [file.closed for file in opened] == [True]


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [("multipart/form-data; boundary=abc", b"abc"), ('Multipart/Form-Data; boundary="a b"', b"a b")],
)
def test_the_boundary_is_read_from_the_content_type(content_type: str, boundary: bytes) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize("content_type", ["", "text/plain", "multipart/form-data", "multipart/mixed; boundary=a"])
def test_other_content_types_are_refused(content_type: str) -> None:
    with pytest.raises(UploadFormatError):
        boundary_of(content_type)
