"""The backend kit, on each result backend."""

from __future__ import annotations

from flowrra.backends.memory import MemoryBackend
from flowrra.interfaces import ResultBackend
from flowrra.testing.backend_kit import BackendKit


class TestMemory(BackendKit):
    async def open_backend(self) -> ResultBackend:
        return MemoryBackend()
