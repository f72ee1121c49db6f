"""One small picture as a file of every accepted format, in the variants that decoders treat differently."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from typing import Any

import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import Image

from tests.tiff_files import DEFLATE, LZW, Layout, write_tiff

pillow_heif.register_heif_opener()

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
SIDE = 64
ORIENTATION = 0x0112
# What a camera held in another way stores, so that its picture is shown upright.
_STORED_AS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
ORIENTED = ("jpg", "mpo", "png", "webp", "avif", "heic", "tif", "lzw.tif", "16-bit.tif", "big.tif")


def picture(width: int = SIDE, height: int = SIDE) -> Image.Image:
    """Red top left, green top right, blue below."""
    image = Image.new("RGB", (width, height), BLUE)
    image.paste(RED, (0, 0, width // 2, height // 2))
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    return image


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    """An image as a file of a format."""
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def oriented(kind: str, orientation: int) -> bytes:
    """The picture as a camera stores it that is held so: turned, with a tag that says how."""
    image = picture(SIDE, SIDE * 3 // 4)
    if orientation in _STORED_AS:
        image = image.transpose(_STORED_AS[orientation])
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    if kind in ("16-bit.tif", "big.tif"):
        deep = kind == "16-bit.tif"
        samples = np.asarray(image).astype(np.uint16) * 257 if deep else np.asarray(image)
        layout = Layout(2, 16 if deep else 8, big_tiff=not deep, big_endian=not deep, orientation=orientation)
        return write_tiff(samples, layout)
    if kind == "mpo":
        return encoded(image, "MPO", save_all=True, append_images=[image.rotate(1)], exif=exif, quality=95)
    if kind == "heic":
        image.info["exif"] = exif.tobytes()  # stored as the file's own properties `irot` and `imir`, as cameras do
        return encoded(image, "HEIF", quality=95)
    if kind == "lzw.tif":
        return encoded(image, "TIFF", exif=exif, compression="tiff_lzw")
    formats = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "avif": "AVIF", "tif": "TIFF"}
    return encoded(image, formats[kind], exif=exif, **({} if kind in ("png", "tif") else {"quality": 95}))


@functools.cache
def samples() -> dict[str, bytes]:
    """Files by name; the first word of a name is the format's, as `core.image_header` names it."""
    image, gray = picture(), picture().convert("L")
    rgba = image.convert("RGBA")
    bmp = encoded(image, "BMP")
    ico = encoded(rgba, "ICO", sizes=[(16, 16), (SIDE, SIDE)])
    ico_bmp = encoded(image, "ICO", sizes=[(SIDE, SIDE)], bitmap_format="bmp")
    pixels = np.asarray(image)
    return {
        "JPEG": encoded(image, "JPEG"),
        "JPEG progressive": encoded(image, "JPEG", progressive=True),
        "JPEG gray": encoded(gray, "JPEG"),
        "JPEG CMYK": encoded(image.convert("CMYK"), "JPEG"),
        "JPEG MPO": encoded(image, "MPO", save_all=True, append_images=[image.rotate(1)]),
        "PNG": encoded(image, "PNG"),
        "PNG palette": encoded(image.convert("P"), "PNG"),
        "PNG 16-bit": encoded(Image.fromarray(np.asarray(gray).astype(np.uint16) * 257), "PNG"),
        "GIF": encoded(image, "GIF"),
        "WEBP": encoded(image, "WEBP"),
        "WEBP lossless": encoded(image, "WEBP", lossless=True),
        "WEBP alpha": encoded(rgba, "WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"),
        "HEIF": encoded(image, "HEIF"),
        "HEIF tiles": encoded(image, "HEIF", tile_size=32),
        "HEIF 10-bit": _ten_bits(np.asarray(image)),
        "AVIF": encoded(image, "AVIF", speed=10),
        "BMP": bmp,
        "BMP masks": bmp_with_masks(32, (0x3FF00000, 0x000FFC00, 0x000003FF, 0xC0000000)),
        "DIB": bmp[14:],
        "TIFF": encoded(image, "TIFF"),
        "TIFF LZW": encoded(image, "TIFF", compression="tiff_lzw"),
        "TIFF JPEG": encoded(image, "TIFF", compression="jpeg"),
        "TIFF fax": encoded(image.convert("1"), "TIFF", compression="group4"),
        "TIFF 16-bit": write_tiff(pixels.astype(np.uint16) * 257, Layout(2, 16, planar=2, compression=DEFLATE)),
        "TIFF big": write_tiff(pixels, Layout(2, big_tiff=True, big_endian=True)),
        "TIFF 16-bit LZW": write_tiff(pixels.astype(np.uint16) * 257, Layout(2, 16, compression=LZW, predictor=2)),
        "ICO": ico,
        "ICO bitmap": ico_bmp,
        "CUR": as_cursor(ico),
        "CUR bitmap": as_cursor(ico_bmp),
        "PPM": encoded(image, "PPM"),
        "PPM text": b"P3 # text\n2 2\n255\n" + b"255 0 0 0 255 0\n0 0 255 0 0 255\n",
        "PPM bits": encoded(image.convert("1"), "PPM"),
        "JPEG2000": encoded(image, "JPEG2000"),
        "JPEG2000 codestream": encoded(image, "JPEG2000", no_jp2=True),
    }


def _ten_bits(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    deep = pillow_heif.from_bytes("RGB;16", (SIDE, SIDE), (pixels.astype("<u2") * 257).tobytes())
    deep.save(file, quality=90)
    return file.getvalue()


def as_cursor(icon: bytes) -> bytes:
    """An icon file as a cursor file: a hot spot stands in place of planes and depth."""
    cursor = bytearray(icon)
    cursor[2] = 2
    for entry in range(int.from_bytes(icon[4:6], "little")):
        cursor[6 + 16 * entry + 4 : 6 + 16 * entry + 8] = struct.pack("<HH", 3, 5)
    return bytes(cursor)


def bmp_with_masks(bits: int, masks: tuple[int, ...], top_down: bool = False) -> bytes:
    """The picture as a BMP whose pixels have any bit masks: red, green, blue and, as the fourth, alpha."""
    channels = np.asarray(picture()).astype(np.uint64)
    values = np.zeros((SIDE, SIDE), np.uint64)
    for mask, channel in zip(
        masks, (*np.moveaxis(channels, -1, 0), np.full((SIDE, SIDE), 255, np.uint64)), strict=False
    ):
        shift = max(0, (mask & -mask).bit_length() - 1)
        values |= np.rint(channel * (mask >> shift) / 255).astype(np.uint64) << np.uint64(shift)
    rows = values.astype(f"<u{bits // 8}")[:: 1 if top_down else -1].tobytes()
    height = -SIDE if top_down else SIDE
    header = struct.pack("<IiiHHIIiiII", 124, SIDE, height, 1, bits, 3, len(rows), 0, 0, 0, 0)
    header = (header + struct.pack("<4I", *(*masks, 0)[:4])).ljust(124, b"\0")
    return b"BM" + struct.pack("<IHHI", 138 + len(rows), 0, 0, 138) + header + rows


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def enlarged(name: str, width: int, height: int) -> bytes:
    """A sample whose header says another size than its pixels have."""
    body = bytearray(samples()[name])
    format, _, variant = name.partition(" ")
    if format == "JPEG":
        frame = next(i for i in range(2, len(body)) if body[i] == 0xFF and body[i + 1] in (0xC0, 0xC2))
        body[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    elif format == "PNG":
        body[8:33] = png_chunk(b"IHDR", struct.pack(">II", width, height) + bytes(body[24:29]))
    elif format == "GIF":
        body[6:10] = struct.pack("<HH", width, height)
    elif format == "WEBP" and variant == "alpha":
        body[24:30] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    elif format == "WEBP" and variant == "lossless":
        body[21:25] = (width - 1 | height - 1 << 14 | 1 << 28).to_bytes(4, "little")
    elif format == "WEBP":
        body[26:30] = struct.pack("<HH", width, height)
    elif format in ("HEIF", "AVIF"):
        for place in _places(body, b"ispe"):
            body[place + 8 : place + 16] = struct.pack(">II", width, height)
    elif format in ("BMP", "DIB"):
        start = 18 if format == "BMP" else 4
        body[start : start + 8] = struct.pack("<Ii", width, height)
    elif format in ("ICO", "CUR"):
        _enlarge_icons(body, width, height)
    elif format == "TIFF":
        _enlarge_tiff(body, width, height)
    elif format == "PPM":
        body = bytearray(body[:3] + f"{width} {height}\n".encode() + body[3:])
    elif format == "JPEG2000":
        for place in _places(body, b"\xff\x4f\xff\x51"):
            body[place + 8 : place + 16] = struct.pack(">II", width, height)
        for place in _places(body, b"ihdr"):
            body[place + 4 : place + 12] = struct.pack(">II", height, width)
    return bytes(body)


def _enlarge_icons(body: bytearray, width: int, height: int) -> None:
    for entry in range(int.from_bytes(body[4:6], "little")):
        offset = int.from_bytes(body[18 + 16 * entry : 22 + 16 * entry], "little")
        if body[offset : offset + 4] == b"\x89PNG":
            chunk = png_chunk(b"IHDR", struct.pack(">II", width, height) + bytes(body[offset + 24 : offset + 29]))
            body[offset + 8 : offset + 33] = chunk
        else:
            body[offset + 4 : offset + 12] = struct.pack("<Ii", width, 2 * height)


def _enlarge_tiff(body: bytearray, width: int, height: int) -> None:
    order, big = "<" if body[:1] == b"I" else ">", 43 in body[2:4]
    (table,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", body, 8 if big else 4)
    (count,) = struct.unpack_from(f"{order}{'Q' if big else 'H'}", body, table)
    for entry in range(count):
        place = table + (8 + 20 * entry if big else 2 + 12 * entry)
        tag, kind = struct.unpack_from(f"{order}2H", body, place)
        if tag in (256, 257):
            value = width if tag == 256 else height
            struct.pack_into(f"{order}{'H' if kind == 3 else 'I'}", body, place + (12 if big else 8), value)


def _places(body: bytearray, mark: bytes) -> list[int]:
    return [place for place in range(len(body)) if body[place : place + len(mark)] == mark]
