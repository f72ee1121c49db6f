"""Names of well-known file formats that are not accepted, so that a refusal can say what the file is."""

from __future__ import annotations

import re

# Offset, signature, name.  The list of signatures: https://en.wikipedia.org/wiki/List_of_file_signatures
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"%PDF", "a PDF document"),
    (0, b"%!PS", "a PostScript document"),
    (0, b"\xc5\xd0\xd3\xc6", "an EPS document"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
    (0, b"II\xbc", "a JPEG XR image"),
    (0, b"v/1\x01", "an OpenEXR image"),
    (0, b"#?RADIANCE", "a Radiance HDR image"),
    (0, b"P7\n", "a PAM image"),
    (0, b"PF\n", "a PFM image in colour"),
    (0, b"qoif", "a QOI image"),
    (0, b"DDS ", "a DDS texture"),
    (0, b"icns", "a macOS icon"),
    (0, b"gimp xcf", "a GIMP document"),
    (0, b"AT&TFORM", "a DjVu document"),
    (0, b"SIMPLE  =", "a FITS image"),
    (0, b"\xd7\xcd\xc6\x9a", "a Windows metafile"),
    (128, b"DICM", "a DICOM image"),
    (0, b"FUJIFILMCCD-RAW", "a raw photo of a camera"),
    (0, b"IIU\0", "a raw photo of a camera"),
    (0, b"IIRO", "a raw photo of a camera"),
    (0, b"\0MRM", "a raw photo of a camera"),
    (4, b"ftypcrx ", "a raw photo of a camera"),
    (4, b"ftypqt", "a video"),
    (4, b"ftyp", "a video or an audio file"),
    (0, b"\x1aE\xdf\xa3", "a video"),
    (0, b"\0\0\x01\xba", "a video"),
    (0, b"FLV\x01", "a video"),
    (8, b"AVI ", "a video"),
    (8, b"WAVE", "an audio file"),
    (0, b"ID3", "an audio file"),
    (0, b"OggS", "an audio file"),
    (0, b"fLaC", "an audio file"),
    (0, b"PK\x03\x04", "a ZIP archive or an Office document"),
    (0, b"PK\x05\x06", "an empty ZIP archive"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document"),
    (0, b"{\\rtf", "an RTF document"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ", "a program"),
)
_MARKUP = (
    (re.compile(rb"<svg[\s>]", re.IGNORECASE), "an SVG drawing"),
    (re.compile(rb"<(!doctype\s+html|html)[\s>]", re.IGNORECASE), "a web page"),
)


def foreign_name(start: bytes) -> str | None:
    """The name of a format that is not accepted, with its article, from a file's first few hundred bytes."""
    for offset, signature, name in _SIGNATURES:
        if start.startswith(signature, offset):
            return name
    if start.lstrip(b"\xef\xbb\xbf\t\r\n ").startswith(b"<"):
        for pattern, name in _MARKUP:
            if pattern.search(start):
                return name
    return None
