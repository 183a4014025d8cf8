"""The allocator cure is harmless wherever it runs."""

from __future__ import annotations

from types import SimpleNamespace

from camelid import allocator


def test_does_nothing_elsewhere(monkeypatch):
    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: 1 / 0)
    assert allocator.keep_freed_memory() is False
    allocator.return_freed_memory()


def test_freed_memory_is_given_back_once(monkeypatch):
    calls = []
    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: ("glibc", "2.36"))
    library = SimpleNamespace(malloc_trim=calls.append)
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: library)
    allocator.return_freed_memory()
    assert calls == [0]


def test_sets_both_limits(monkeypatch):
    calls = []

    class Library:
        def mallopt(self, parameter, value):
            calls.append((parameter, value))
            return 1

    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: Library())
    assert allocator.keep_freed_memory() is True
    assert calls == [(-4, 0), (-1, -1)]
