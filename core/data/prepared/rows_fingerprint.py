"""A fingerprint of the prepared rows, to check that a resumed run continues with the same ones."""

import hashlib

from core.data.prepared.prepared_data import PreparedData


def rows_fingerprint(data: PreparedData) -> str:
    """A hash of all rows' numbers, lengths and texts: 32 hexadecimal digits."""
    return _hash(data.train.figures, data.validation.figures)


def are_the_rows_of(fingerprint: str, data: PreparedData) -> bool:
    """Whether these are the rows with that fingerprint."""
    if fingerprint == rows_fingerprint(data):
        return True
    # Earlier versions did not count the chat template's end mark as one unless it was the tokenizer's as well.
    parts = [part.figures.copy() for part in (data.train, data.validation)]
    for figures in parts:
        figures["ends"] = False
    return fingerprint == _hash(*parts)


def _hash(*figures) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in figures:
        digest.update(part.tobytes())
    return digest.hexdigest()
