"""The encoding of a file: UTF-8 where all of it is, else what charset-normalizer finds."""

import codecs
from pathlib import Path

from megatron_music.errors import DataError

_PORTION_BYTES = 1 << 20
_SAMPLE_BYTES = 1 << 16


def encoding_of(path: Path) -> str:
    """Return the encoding of a file; raises DataError where its bytes are not text."""
    odd = _first_odd_byte(path)
    if odd is None:
        return "utf-8-sig"
    with path.open("rb") as file:
        head = file.read(_SAMPLE_BYTES)
        file.seek(max(0, odd - _SAMPLE_BYTES // 2))
        around = file.read(_SAMPLE_BYTES)
    encoding = _guess(head if odd < _SAMPLE_BYTES else head + around)
    if encoding is None:
        raise DataError(
            f"{path} is not text: byte {odd:,} is not UTF-8, and no other encoding fits; "
            "give a text file, or save it as UTF-8"
        )
    return encoding


def _first_odd_byte(path: Path) -> int | None:
    """Return where a file first differs from UTF-8, or holds a zero; None where it does not."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    done = 0
    try:
        with path.open("rb") as file:
            while portion := file.read(_PORTION_BYTES):
                if (zero := portion.find(b"\0")) >= 0:
                    return done + zero
                decoder.decode(portion)
                done += len(portion)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError as fault:
        return max(0, done + fault.start)
    except OSError as fault:
        raise DataError(f"cannot read {path}: {fault.strerror}; check the path") from None
    return None


def _guess(sample: bytes) -> str | None:
    from charset_normalizer import from_bytes

    found = from_bytes(sample).best()
    # A zero is a letter of no encoding but those of 16 and 32 bits.
    if found is None or (b"\0" in sample and not found.encoding.startswith(("utf_16", "utf_32"))):
        return None
    return found.encoding
