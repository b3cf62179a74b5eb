"""A fingerprint of the prepared rows, to check that a resumed run continues with the same ones."""

import hashlib

from core.data.prepared.prepared_data import PreparedData


def rows_fingerprint(data: PreparedData) -> str:
    """A hash of all rows' numbers, lengths and texts: 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (data.train, data.validation):
        digest.update(part.figures.tobytes())
    return digest.hexdigest()
