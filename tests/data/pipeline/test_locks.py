"""Locks by name: among threads, among processes, and on every way out."""

import os
import threading
import time

import pytest

from dovetail.data.pipeline.locks import Locks, NamedLock


def free(lock, seconds=5.0):
    """Whether another thread can take it."""
    taken = threading.Event()

    def take():
        with lock:
            taken.set()

    threading.Thread(target=take, daemon=True).start()
    return taken.wait(seconds)


def test_one_name_is_one_lock():
    locks = Locks()
    assert locks.get("a") is locks.get("a")
    with locks.get("a"):
        assert free(locks.get("b"))
        assert not free(locks.get("a"), 0.05)


@pytest.mark.parametrize("shared", [False, True])
def test_it_may_be_taken_again_and_is_free_after_an_error(shared):
    locks = Locks()
    if shared:
        locks.share(["a"])
    lock = locks.get("a")
    with pytest.raises(LookupError), lock, lock:
        raise LookupError
    assert free(lock)


def test_another_process_waits_for_it_and_its_death_releases_it():
    locks = Locks()
    file, numbers = locks.share(["other", "a"])
    assert numbers == {"other": 0, "a": 1}
    ready, tell = os.pipe()
    child = os.fork()
    if not child:
        NamedLock(numbers["a"], file).__enter__()
        os.write(tell, b"x")
        time.sleep(60)
        os._exit(0)
    os.read(ready, 1)
    with locks.get("other"):  # nobody has that one
        pass
    assert not free(locks.get("a"), 0.05)
    os.kill(child, 9)
    os.waitpid(child, 0)
    assert free(locks.get("a"))
    os.close(ready)
    os.close(tell)


def test_locks_made_later_are_shared_too():
    locks = Locks()
    file, _ = locks.share([])
    assert locks.get("late").file == file
    assert locks.share(["late"])[1] == {"late": 0}
