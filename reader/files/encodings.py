"""Messages about files that are not UTF-8, from a look at their bytes."""

from __future__ import annotations

import codecs
import re

from reader.errors import DataError

_HEAD = 4096
_LONGEST = 1 << 20
_ESCAPED = re.compile("[\udc80-\udcff]")
_HALVES = re.compile("[\ud800-\udc7f\udd00-\udfff]")


def refuse_utf16(head: bytes, name: str) -> None:
    """Refuse a file that begins like UTF-16, with a byte order mark or without.

    Args:
        head: the first bytes of the file, or its first line.
        name: name of the file in messages.

    Raises:
        DataError: the file is UTF-16.
    """
    head = head[:_HEAD]
    code = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else _utf16_without_mark(head)
    if code:
        raise DataError(f"{name}: this is UTF-16; convert it to UTF-8 ({_iconv(code)})")


def not_utf8(text: str | bytes) -> str:
    """The part of a message that says why a text is unusable and what to do.

    Args:
        text: bytes that are not UTF-8, or a text with lone surrogates, which are bytes decoded with `surrogateescape`
            or halves of a pair that were written as escapes in JSON.
    """
    if isinstance(text, str):
        if not _ESCAPED.search(text):
            return "not Unicode (half of a surrogate pair)"
        text = _HALVES.sub("", text).encode("utf-8", "surrogateescape")
    if b"\0" in text:
        return f"UTF-16, not UTF-8; convert the file ({_iconv('utf-16le')})"
    if _is_chinese(text):
        return f"not UTF-8, but looks like GB18030 (GBK); convert the file ({_iconv('gb18030')})"
    return f"not UTF-8; convert the file from its encoding (for example latin1: {_iconv('latin1')})"


def _iconv(code: str) -> str:
    return f"iconv -f {code} -t utf-8"


def _utf16_without_mark(head: bytes) -> str:
    """The name of the encoding if every other byte is mostly zero, as in UTF-16; "" if the bytes are not UTF-16."""
    low, high = head[::2].count(0), head[1::2].count(0)
    if not low + high or 10 * min(low, high) > max(low, high):
        return ""
    if 4 * (low + high) < len(head) and _decoded(head, "utf-8", cut=True) is not None:
        return ""  # text with a stray zero byte
    return "utf-16le" if high > low else "utf-16be"


def _is_chinese(raw: bytes) -> bool:
    """Whether these bytes, read as GB18030, are mostly common Chinese characters.

    Almost any two bytes are a character in GB18030. But the letters of European languages rarely give common characters
    (the first level of GB 2312), which make up nearly all of a Chinese text.
    """
    text = _decoded(raw[:_LONGEST], "gb18030", cut=len(raw) > _LONGEST)
    foreign = [character for character in text or "" if character > "\x7f"]
    common = sum(b"\xb0" <= character.encode("gb2312", "ignore")[:1] <= b"\xd7" for character in foreign)
    return 2 * common > len(foreign)


def _decoded(raw: bytes, code: str, cut: bool) -> str | None:
    """The decoded text, or None if the bytes are not in this encoding; with `cut` they may end inside a character."""
    try:
        return codecs.getincrementaldecoder(code)().decode(raw, final=not cut)
    except UnicodeDecodeError:
        return None
