"""Input tokens from text, and what the vendor's prompt cache would have remembered."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

BYTES_PER_TOKEN: Final = 4
IMAGE_TOKENS: Final = 85  # OpenAI's price of a low-detail image; one figure for both vendors keeps tests simple
CACHE_LIMIT_PREFIXES: Final = 20_000


def count(text: str) -> int:
    """Tokens of a text: its UTF-8 bytes by four, rounded up."""
    size = len(text) if text.isascii() else len(text.encode(errors="replace"))
    return -(-size // BYTES_PER_TOKEN)


class PromptCache:
    """Prefixes of messages seen before. The oldest are forgotten beyond the limit, so that a drill cannot fill the memory."""

    def __init__(self, minimum_tokens: int) -> None:
        self.minimum_tokens = minimum_tokens
        self._seen: OrderedDict[int, None] = OrderedDict()

    def look(self, salt: str, parts: Sequence[str], sizes: Sequence[int]) -> tuple[int, int]:
        """(tokens read from the cache, tokens newly written to it) for the prefixes of `parts`, whose tokens are `sizes`.

        Only prefixes of at least `minimum_tokens` are kept (1,024 at both vendors). Cheap when the whole is below that.
        """
        if sum(sizes) < self.minimum_tokens:
            return 0, 0
        key, total, read = hash(salt), 0, 0
        for part, size in zip(parts, sizes, strict=True):
            key = hash((key, part))
            total += size
            if total < self.minimum_tokens:
                continue
            if key in self._seen:
                read = total
                self._seen.move_to_end(key)
            else:
                self._seen[key] = None
        while len(self._seen) > CACHE_LIMIT_PREFIXES:
            self._seen.popitem(last=False)
        return read, total - read
