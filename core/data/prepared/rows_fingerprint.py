import hashlib

from core.data.prepared.prepared_data import PreparedData


def rows_fingerprint(data: PreparedData) -> str:
    """Tells whether rows are the same as before: of each its place, its lengths and the hash of its text."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (data.train, data.validation):
        digest.update(part.figures.tobytes())
    return digest.hexdigest()
