"""Messages between processes: they arrive, and the store does not keep them for ever."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from propeller.device import distributed

WORLD, MESSAGES, SIZE = 3, 40, 10_000


class Store:
    """What Paddle's store does: `get` waits until a key has a value that is not empty."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.changed = threading.Condition()
        self.most = 0

    def held(self) -> int:
        """Bytes of all values."""
        return sum(map(len, self.values.values()))

    def set(self, key: str, value: bytes) -> None:
        """Also over an older value."""
        with self.changed:
            assert len(self.values) < WORLD * MESSAGES, "rank 0 has all messages, and may have ended with the store"
            self.values[key] = value
            self.most = max(self.most, self.held())
            self.changed.notify_all()

    def get(self, key: str) -> bytes:
        """The value, as soon as there is one."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.values.get(key), timeout=60)
            return self.values[key]


def test_all_messages_arrive_and_only_the_newest_two_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thread is a rank; their pauses are random, so that each is at times ahead of the others and behind them."""
    store = Store()

    class Job(threading.local):
        def __init__(self) -> None:
            self.store, self.messages, self.rank = store, 0, -1

    job = Job()
    monkeypatch.setattr(distributed, "_job", job)
    monkeypatch.setattr(distributed, "rank", lambda: job.rank)
    monkeypatch.setattr(distributed, "world_size", lambda: WORLD)

    def message(number: int, rank: int) -> bytes:
        return b"" if number % 5 == rank else random.Random(f"{number} {rank}").randbytes(SIZE)

    def work(rank: int) -> list[list[bytes]]:
        job.rank, pauses = rank, random.Random(rank)
        found = []
        for number in range(MESSAGES):
            time.sleep(pauses.choice([0, 0, 0.003]))
            found.append(distributed.all_gather_bytes(message(number, rank)))
        return found

    with ThreadPoolExecutor(WORLD) as threads:
        wanted = [[message(number, rank) for rank in range(WORLD)] for number in range(MESSAGES)]
        assert all(found == wanted for found in threads.map(work, range(WORLD)))
    assert store.held() < (2 * WORLD + 1) * SIZE
    # While some ranks have sent a message already, others have not yet taken back the second before it.
    assert store.most < (3 * WORLD + 1) * SIZE
