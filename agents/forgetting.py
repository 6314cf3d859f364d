"""Forgetting: what was kept of earlier questions is let go, so that answers depend on none of them, to the bit.

Nobody's memories (Ml) are touched: what goes are answers and key/values kept to save time. They save it at a price of
about 1e-6 in a log-probability, since a language model rounds otherwise when others are asked together.
"""

from __future__ import annotations


def forget(*part: object) -> None:
    """Let parts forget that keep something; the others have no method `forget`."""
    for one in part:
        own = getattr(one, "forget", None)
        if own is not None:
            own()
