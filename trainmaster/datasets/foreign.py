"""What the first bytes of a file say it is, when it is none of the text that was asked for."""

from __future__ import annotations

_MAGIC = {
    b"PK\x03\x04": "a zip archive; an Excel workbook (.xlsx) is one: save it as CSV",
    b"PK\x05\x06": "an empty zip archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook (.xls): save it as CSV",
    b"%PDF": "a PDF document",
    b"SQLite format 3": "an SQLite database",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"BZh91AY": "bzip2 data: unpack it, or pack it with gzip or zstd",
    b"\xfd7zXZ\0": "xz data: unpack it, or pack it with gzip or zstd",
    b"\x04\x22\x4d\x18": "lz4 data: unpack it, or pack it with gzip or zstd",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive: unpack it",
    b"Rar!\x1a\x07": "a RAR archive: unpack it",
    b"ARROW1": "an Arrow file: save it as Parquet or JSON Lines",
    b"Obj\x01": "an Avro file: export it as JSON Lines",
    b"\x89HDF": "an HDF5 file: export it as JSON Lines",
    b"\x80\x02": "a Python pickle, which is never opened",
    b"\x80\x03": "a Python pickle, which is never opened",
    b"\x80\x04": "a Python pickle, which is never opened",
    b"\x80\x05": "a Python pickle, which is never opened",
    b"\x7fELF": "a program",
}
_TAR = slice(257, 262)


def other_encoding(head: bytes) -> str | None:
    """The encoding a text is in when its first bytes show that it is not UTF-8."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")):
        return "UTF-16 (or UTF-32) text"
    if abs(head[::2].count(0) - head[1::2].count(0)) > len(head) // 4:
        return "UTF-16 text without a byte order mark"
    return None


def other_kind(head: bytes) -> str | None:
    """What a file is whose first bytes are no text in UTF-8, or a web page's."""
    if found := next((said for magic, said in _MAGIC.items() if head.startswith(magic)), None):
        return found
    if head[_TAR] == b"ustar":
        return "a tar archive: unpack it"
    if head.decode("utf-8-sig", "replace").lstrip().startswith("<"):
        return "a web page (HTML) or XML"
    return None
