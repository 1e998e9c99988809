"""Collections that come with music21 as sources, alone or several as one."""

from collections.abc import Sequence

from megatron_music.data import chorales
from megatron_music.data.catalog import Collection
from megatron_music.data.corpus import list_corpus
from megatron_music.data.sources import Source, labelled


def embedded_source(collections: Sequence[Collection]) -> Source:
    """Return the pieces of collections, with COMPOSER and GENRE where there are several of either.

    Where there are others beside Bach's chorales, all are built as those prefer.
    """
    names = [known.name for known in collections]
    items, labels = list_corpus(names)
    only = collections[0] if len(collections) == 1 else None
    fingerprint = chorales.fingerprint()
    if names != ["bach"]:
        fingerprint = f"{fingerprint} {'+'.join(names)}"
    source = Source(
        name="+".join(names),
        title="; ".join(known.title for known in collections),
        licence=only.licence
        if only
        else "; ".join(f"{of.name}: {of.licence}" for of in collections),
        citation=only.citation if only else "; ".join(known.citation for known in collections),
        fingerprint=fingerprint,
        items=items,
        items_per_shard=chorales.CHORALES_PER_SHARD,
        preferred=max(collections, key=lambda of: of.name != "bach").preferred,
    )
    return labelled(source, labels) if len(set(labels.rows.values())) > 1 else source
