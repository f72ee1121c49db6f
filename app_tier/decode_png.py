"""Leave out of a PNG what its picture does not need and its decoder refuses: long metadata."""

from __future__ import annotations

import struct
import zlib

_SIGNATURE_BYTES = 8
# Length and type before a chunk's data, a checksum after it.
_HEAD_BYTES, _CHECKSUM_BYTES = 8, 4
# Of all texts together, decompressed.  Pillow refuses a file with a text of more than 1 MiB.
_MAX_TEXT_BYTES = 256 * 1024
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
# Colours are not managed here, so that no profile is needed.
_PROFILE = b"iCCP"


def without_long_metadata(body: bytes) -> bytes:
    """Drop the colour profile, and texts beyond 256 KiB, from a PNG; a file without them comes back as it is.

    Short texts stay: some programs keep the orientation in one.
    """
    kept: list[bytes] = []
    begin = offset = _SIGNATURE_BYTES
    room = _MAX_TEXT_BYTES
    while offset + _HEAD_BYTES <= len(body):
        length, kind = struct.unpack_from(">I4s", body, offset)
        end = offset + _HEAD_BYTES + length + _CHECKSUM_BYTES
        drop = kind == _PROFILE
        if kind in _TEXTS:
            text_bytes = _text_bytes(kind, body[offset + _HEAD_BYTES : end - _CHECKSUM_BYTES], room)
            drop = text_bytes > room
            room -= 0 if drop else text_bytes
        if drop:
            kept.append(body[begin:offset])
            begin = end
        offset = end
    return body if begin == _SIGNATURE_BYTES else body[:_SIGNATURE_BYTES] + b"".join(kept) + body[begin:]


def _text_bytes(kind: bytes, data: bytes, most: int) -> int:
    """The size of a text, decompressed; no more than `most` + 1 bytes are."""
    _keyword, _, rest = data.partition(b"\0")
    compressed = b""
    if kind == b"zTXt":
        compressed = rest[1:]
    elif kind == b"iTXt" and rest.startswith(b"\1"):
        compressed = rest[2:].split(b"\0", 2)[-1]  # after the language and the keyword in that language
    try:
        return max(len(data), len(zlib.decompressobj().decompress(compressed, most + 1)))
    except zlib.error:
        return len(data)
