"""A budget of bytes that many requests or uploads have together."""

from __future__ import annotations

import threading
from collections import Counter


class ByteBudget:
    """Bytes that may be taken at a time, in all and by one holder. Thread-safe."""

    def __init__(self, most: int, most_of_one: int | None = None) -> None:
        """`most_of_one`: by one holder; None: all of them."""
        self.most, self.most_of_one = most, most if most_of_one is None else most_of_one
        self.taken = 0
        self._by_holder: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, size: int, holder: str = "") -> bool:
        """Take so many bytes; False, and nothing is taken, if there is no room for them."""
        with self._lock:
            if self.taken + size > self.most or not self.has_room_for(size, holder):
                return False
            self.taken += size
            self._by_holder[holder] += size
            return True

    def has_room_for(self, size: int, holder: str) -> bool:
        """Whether the holder may have so many more, wherever others leave room for them."""
        return self._by_holder[holder] + size <= self.most_of_one

    def give_back(self, size: int, holder: str = "") -> None:
        """Give back what was taken."""
        with self._lock:
            self.taken -= size
            self._by_holder[holder] -= size
            if not self._by_holder[holder]:
                del self._by_holder[holder]
