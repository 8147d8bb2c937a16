import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from selip_core import interruption
from selip_core.interruption import (
    SIGNALS,
    Interrupted,
    deferred_signals,
    held_signals,
    ignore_signals,
    raised_signals,
    signal_of,
)


@pytest.fixture(autouse=True)
def heeded_signals():
    """A process that a shell started in the background ignores Ctrl-C; not in these tests."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_remembered(number):
    before = signal.getsignal(number)
    with deferred_signals() as interrupted:
        assert interrupted() == 0
        signal.raise_signal(number)
        assert interrupted() == number
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", SIGNALS)
def test_a_second_signal_interrupts_at_once(number, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(interruption.time, "monotonic", lambda: now[0])
    with deferred_signals():
        signal.raise_signal(signal.SIGTERM)
        now[0] = 1.5
        with pytest.raises(Interrupted) as caught:
            signal.raise_signal(number)
        assert signal_of(caught.value) == number


def test_one_sigterm_delivered_twice_is_one():
    with deferred_signals() as interrupted:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert interrupted() == signal.SIGTERM


def test_ctrl_c_twice_is_two():
    with deferred_signals():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("block", [deferred_signals, raised_signals])
@pytest.mark.parametrize("number", SIGNALS)
def test_what_is_ignored_stays_ignored(block, number):
    signal.signal(number, signal.SIG_IGN)
    with block():
        signal.raise_signal(number)
        assert signal.getsignal(number) is signal.SIG_IGN


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_raised(number):
    with raised_signals():
        with pytest.raises(Interrupted) as caught:
            signal.raise_signal(number)
        assert signal_of(caught.value) == number
    assert signal_of(KeyboardInterrupt()) == signal.SIGINT


def test_a_signal_that_was_dropped_counts():
    with raised_signals() as arrived:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        assert arrived() == signal.SIGTERM
        with deferred_signals() as interrupted:
            assert interrupted() == signal.SIGTERM
    with raised_signals() as arrived:
        assert arrived() == 0


@pytest.mark.parametrize("number", SIGNALS)
def test_a_held_signal_is_raised_at_the_end(number):
    done = []

    def read():
        with held_signals():
            signal.raise_signal(number)
            done.append("block")

    with pytest.raises(Interrupted) as caught:
        read()
    assert (done, signal_of(caught.value)) == (["block"], number)


def test_a_forked_process_ends_by_signals_as_any_other():
    reading, writing = os.pipe()
    with raised_signals():
        child = os.fork()
        if child == 0:
            os.write(writing, b"1")
            time.sleep(10)
            os._exit(3)
        os.read(reading, 1)
        os.kill(child, signal.SIGTERM)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM
    os.close(reading)
    os.close(writing)


def test_readers_ignore_all_three():
    ignore_signals()
    for number in SIGNALS:
        signal.raise_signal(number)


def test_nohup_is_respected():
    program = (
        "import os, signal; from selip_core.interruption import *\n"
        "with raised_signals(), deferred_signals() as interrupted:\n"
        "    os.kill(os.getpid(), signal.SIGHUP); print(interrupted())"
    )
    done = subprocess.run(["nohup", sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("0", 0)
