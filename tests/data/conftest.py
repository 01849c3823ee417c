"""What tests of writing share: a process that dies at a chosen step."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

# What changes names on a disk or makes them durable, in whichever module it is called.
_STEPS = ("replace", "rename", "fsync", "unlink", "rmdir", "mkdir", "truncate")
_KILLED = 9


@pytest.fixture
def dies_at() -> Callable[[Callable[[], object], int], bool]:
    """Runs a function in a process that dies just before its n-th step on the disk, from 0 on.

    It says whether there was such a step; without, the function came to its end.
    """

    def dies_at(run: Callable[[], object], step: int) -> bool:
        child = os.fork()
        if not child:
            try:
                _count(step)
                run()
            except BaseException:
                os._exit(1)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, _KILLED)
        return code == _KILLED

    return dies_at


def _count(step: int) -> None:
    left = [step]

    def counted(real: Callable) -> Callable:
        def call(*words, **options):
            if left[0] == 0:
                os._exit(_KILLED)
            left[0] -= 1
            return real(*words, **options)

        return call

    for name in _STEPS:
        setattr(os, name, counted(getattr(os, name)))
