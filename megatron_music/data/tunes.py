"""The tunes of ABC files, each a piece of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

from megatron_music.data.folders import names_of
from megatron_music.data.items import File, FileItem, Item, is_file
from megatron_music.data.refusal import Refusal
from megatron_music.score.score_file import split_tunes

_SUFFIX = ".abc"


@dataclass(frozen=True, slots=True)
class Tune(FileItem):
    """One tune of an ABC file, counted from 1; its name is that of the file and `#2`."""

    file: File
    number: int
    name: str

    def raw(self) -> bytes:
        """Return the tune with its file's header; raises Refusal."""
        tunes = split_tunes(self.file.raw())
        if self.number > len(tunes):
            raise Refusal("unreadable", f"the file has {len(tunes)} tunes now")
        return tunes[self.number - 1]


def with_tunes(items: Sequence[Item]) -> Sequence[Item]:
    """Return the items, each tune of an ABC file that holds several as one; reads those files."""
    if not any(name.lower().endswith(_SUFFIX) for name in names_of(items)):
        return items
    return [tune for item in items for tune in _tunes(item)]


def _tunes(item: Item) -> list[Item]:
    if not (item.name.lower().endswith(_SUFFIX) and is_file(item)):
        return [item]
    if isinstance(item, FileItem) and item.is_one_piece:
        return [item]
    try:
        count = len(split_tunes(item.raw()))
    except Refusal:
        return [item]
    if count < 2:
        return [item]
    return [Tune(item, number, f"{item.name}#{number}") for number in range(1, count + 1)]
