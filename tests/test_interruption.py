"""Signals, sent to this process itself."""

import os
import signal
import threading
import time

import pytest

from jaxgan.interruption import Interrupted, aside, signals

HERE = os.getpid()


def test_what_can_be_given_up_is_given_up_at_once():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as exit_, signals():
        os.kill(HERE, signal.SIGTERM)
        time.sleep(30)
        raise AssertionError("it went on")
    assert exit_.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before


def test_what_must_be_finished_is_finished():
    done = []
    with pytest.raises(KeyboardInterrupt), signals() as caught:
        with caught.noted():
            os.kill(HERE, signal.SIGINT)
            os.kill(HERE, signal.SIGTERM)  # a second one does no harm
            done.append(caught.number)
            with pytest.raises(Interrupted), caught.at_once():
                done.append("never")
        done.append("after")
    assert done == [signal.SIGINT, "after"]


def test_a_part_that_may_be_given_up():
    with pytest.raises(SystemExit), signals() as caught, caught.noted():
        with pytest.raises(Interrupted), caught.at_once():
            os.kill(HERE, signal.SIGTERM)
            time.sleep(30)
        os.kill(HERE, signal.SIGTERM)  # is noted again
        assert caught.number == signal.SIGTERM


def test_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) != signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_error_is_not_taken_for_a_signal():
    with pytest.raises(ValueError, match="mine"), signals():
        raise ValueError("mine")


def test_what_python_cannot_interrupt_runs_aside():
    assert aside(lambda: threading.current_thread() is threading.main_thread()) is False
    with pytest.raises(ZeroDivisionError):
        aside(lambda: 1 / 0)
    began = time.monotonic()
    threading.Timer(0.3, os.kill, (HERE, signal.SIGTERM)).start()
    with pytest.raises(SystemExit), signals():
        aside(lambda: time.sleep(30))
    assert time.monotonic() - began < 20


def test_other_threads_set_no_handlers():
    results = []

    def run():
        with signals() as caught:
            results.append((caught.number, aside(lambda: 5)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert results == [(0, 5)]
