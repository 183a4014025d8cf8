"""Runs one Python program under limits that it cannot lift; started by `code_execution`.

The kernel (seccomp) lets this process read files, use memory and compute, nothing else: every other
system call fails with "operation not permitted". So no file is written, moved or removed, no
process or thread starts, no socket opens, no signal goes to another process. Memory, processor
time and open files are limited besides. Uses the standard library only: the folder of this file is
all that is on its path.

Usage: python -I -S sandboxed_child.py PROGRAM TESTS MEMORY_BYTES CPU_SECONDS, with a secret line on
the standard input. Prints `locked`, then the secret when program and tests reached their end, else
what they raised.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
import sys
import types

LOCKED = "locked"
"""First line of the report, written once the limits are set; without it no program was started."""

# System calls of x86-64 Linux by number (<asm/unistd_64.h>).
# Writing goes only to what is open: /dev/null and the pipe of the verdict.
_ALLOWED = {
    "read": 0, "write": 1, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "lseek": 8, "mmap": 9,
    "mprotect": 10, "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14,
    "rt_sigreturn": 15, "pread64": 17, "access": 21, "sched_yield": 24, "mremap": 25,
    "madvise": 28, "dup": 32, "nanosleep": 35, "getpid": 39, "exit": 60, "uname": 63,
    "getcwd": 79, "readlink": 89, "gettimeofday": 96, "getuid": 102, "getgid": 104,
    "geteuid": 107, "getegid": 108, "sigaltstack": 131, "gettid": 186, "futex": 202,
    "getdents64": 217, "clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230,
    "exit_group": 231, "newfstatat": 262, "getrandom": 318, "statx": 332, "rseq": 334,
}  # fmt: skip
_OPEN, _OPENAT = 2, 257
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_ARCHITECTURE = 0xC000003E  # AUDIT_ARCH_X86_64
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | 1, 0x80000000  # REFUSE: errno EPERM
_NUMBER, _ARCH, _ARGUMENT_1, _ARGUMENT_2 = 0, 4, 24, 32  # offsets in struct seccomp_data
_SET_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER_MODE = 38, 22, 2


def _filter() -> bytes:
    """The list above as a program for the kernel: (code, jump if true, if false, operand) each."""
    steps = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, _ARCHITECTURE),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    for call, argument in ((_OPEN, _ARGUMENT_1), (_OPENAT, _ARGUMENT_2)):
        steps += [
            (_EQUAL, 0, 4, call),
            (_LOAD, 0, 0, argument),
            (_ANY_BIT, 0, 1, _WRITING),
            (_RETURN, 0, 0, _REFUSE),
            (_RETURN, 0, 0, _ALLOW),
        ]
    for call in _ALLOWED.values():
        steps += [(_EQUAL, 0, 1, call), (_RETURN, 0, 0, _ALLOW)]
    steps.append((_RETURN, 0, 0, _REFUSE))
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def lock(memory: int, seconds: int) -> bool:
    """Limit this process for good; False where the system cannot."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    limits = (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 32),
    )
    for name, value in limits:
        hard = resource.getrlimit(name)[1]
        lowest = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(name, (lowest, lowest))
    library = ctypes.CDLL(None, use_errno=True)
    steps = _filter()
    buffer = ctypes.create_string_buffer(steps, len(steps))
    program = struct.pack("HxxxxxxP", len(steps) // 8, ctypes.addressof(buffer))
    if library.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
        return False
    return bool(library.prctl(_SET_SECCOMP, _FILTER_MODE, program, 0, 0) == 0)


def main(program: str, tests: str, memory: str, seconds: str) -> None:
    """Run the program, then its tests where the program ran, and report."""
    secret = sys.stdin.readline()
    verdict = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)
    if not lock(int(memory), int(seconds)):
        os._exit(1)
    os.write(verdict, f"{LOCKED}\n".encode())
    outcome = secret
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        for path in (program, tests):
            with open(path, encoding="utf-8") as file:  # noqa: PTH123 (pathlib takes time to load)
                source = file.read()
            exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)  # noqa: S102
    except BaseException as error:  # noqa: BLE001  (SystemExit before the tests is a failure too)
        outcome = type(error).__name__
    os.write(verdict, outcome.encode())
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
