"""Seeds: all randomness is a pure function of the run's seed and what it is for.

Source: choice (the paper describes no software).
"""

from __future__ import annotations

import hashlib


def derive_seed(*parts: object) -> int:
    """Return a 63-bit seed that is a pure function of its parts; all randomness comes from here.

    Args:
        *parts: Anything whose `str` is stable: run seed, stage, round, item id.
    """
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
