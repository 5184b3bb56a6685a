"""Where the random numbers of a run come from: its seed and its place in its batch, nothing else.

So neither the number of workers nor the order of execution nor a retry changes them.
"""

from __future__ import annotations

from flowrra.core.records import Submission
from flowrra.core.tuples import NamedTuple


class Source(NamedTuple):
    """What a run draws from. Turned into numbers only when something is drawn."""

    seed: int | str
    """As given, or the id that one is derived from: ids begin with a part that was drawn for their app."""
    position: int = 0
    """In its batch, or its ``imap`` with a seed; 0 for one that was submitted alone."""

    def stream(self, name: str) -> int:
        """The seed, of 128 bits, of one generator: BLAKE2b of both in hexadecimal, personalised with *name*."""
        import hashlib  # it loads OpenSSL, which takes a tenth of a worker's start

        text = f"{number_of(self.seed):x}:{self.position:x}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=16, person=name.encode()).digest(), "big")


def source_of(submission: Submission) -> Source:
    """Where the run of *submission* draws from, in all of its attempts."""
    return Source(seed_of(submission), submission.position or 0)


def seed_of(submission: Submission) -> int | str:
    """The seed in its source."""
    seed = submission.seed
    return (submission.batch_id or submission.id) if seed is None else seed


def number_of(seed: int | str) -> int:
    """The seed as a number that ``options(seed=…)`` takes; one that is derived from an id has 53 bits.

    So many fit into a number of JavaScript and of JSON.
    """
    if isinstance(seed, int):
        return seed
    import hashlib

    return int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=8).digest(), "big") >> 11
