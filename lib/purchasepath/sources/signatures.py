"""Files that are no text of lines, known by their first bytes: what they are, and how to make text of them."""

from __future__ import annotations

SIGNATURES = (
    (b"PK\x03\x04", "is a ZIP archive, which cannot be read line by line; unpack it, or pack it by gzip (.gz)"),
    (b"\xd0\xcf\x11\xe0", "is an old Excel workbook; save it as CSV in UTF-8"),
    (b"\x1f\x8b", "is packed by gzip but not named so; rename it to {name}.gz"),
    (b"BZh", "is packed by bzip2 but not named so; rename it to {name}.bz2"),
    (b"\xfd7zXZ", "is packed by xz, which is not read; pack it by gzip (.gz)"),
    (b"(\xb5/\xfd", "is packed by zstd but not named so; rename it to {name}.zst"),
    (b"7z\xbc\xaf", "is a 7z archive, which is not read; unpack it"),
    (b"PAR1", "is a Parquet file; set `format: parquet` in the mapping"),
    (b"Obj\x01", "is an Avro file, which is not read; write it as Parquet or JSON lines"),
    (b"ORC", "is an ORC file, which is not read; write it as Parquet or JSON lines"),
    (b"\xff\xfe", "is UTF-16; expected UTF-8. Run: iconv -f UTF-16 -t UTF-8 {name}"),
    (b"\xfe\xff", "is UTF-16; expected UTF-8. Run: iconv -f UTF-16 -t UTF-8 {name}"),
    (b"<!doctype html", "is a web page, perhaps the one that asks for a password; expected raw events"),
    (b"<html", "is a web page, perhaps the one that asks for a password; expected raw events"),
)
_WORDS = (b"ORC", b"BZh", b"PAR1")
"""Text may begin like this; such files hold bytes that no text in ASCII has."""

EXCEL = "is an Excel workbook; save it as CSV in UTF-8"
UTF16 = "looks like UTF-16 (every other byte is zero); expected UTF-8. Run: iconv -f {code} -t UTF-8 {name}"


def other_format(content: bytes, name: str) -> str | None:
    """What a file that begins with `content` (unpacked) is instead of text in UTF-8; None where it may be that."""
    if content.startswith(b"PK\x03\x04") and (b"[Content_Types].xml" in content or b"xl/" in content[:4096]):
        return EXCEL
    start = content[:16].lower()
    for sign, fault in SIGNATURES:
        if start.startswith(sign.lower()) and not (sign in _WORDS and content.isascii()):
            return fault.format(name=name)
    sample = content[:256]
    for first, code in ((1, "UTF-16LE"), (0, "UTF-16BE")):
        zeros, others = sample[first::2], sample[1 - first::2]
        if len(sample) >= 8 and not any(zeros) and all(others):
            return UTF16.format(name=name, code=code)
    return None
