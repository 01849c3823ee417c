"""Signals are noticed, and take effect when it is time."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from dovetail.run import signals


def test_a_signal_is_noticed_and_takes_effect_when_asked():
    with signals.noticed() as stop:
        assert stop.signal is None
        stop.take_effect()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal == signal.SIGTERM
        with pytest.raises(SystemExit) as caught:
            stop.take_effect()
        assert caught.value.code == 143


def test_an_interrupt_is_a_keyboard_interrupt_and_a_second_one_comes_at_once():
    with signals.noticed() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            stop.take_effect()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_handlers_are_put_back_also_after_an_error():
    def fail() -> None:
        with signals.noticed():
            assert signal.getsignal(signal.SIGTERM) != before[1]
            raise ZeroDivisionError

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError):
        fail()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_outside_the_main_thread_nothing_is_changed():
    found = []

    def look() -> None:
        before = signal.getsignal(signal.SIGTERM)
        with signals.noticed() as stop:
            found.append((signal.getsignal(signal.SIGTERM) is before, stop.signal))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [(True, None)]
