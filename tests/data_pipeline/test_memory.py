import threading
import time

import pytest

from selip_core.data.memory import MemoryGate


def most_at_once(gate, sizes):
    """Return the most bytes that threads with places of these sizes held at a time."""
    most, lock = [0], threading.Lock()

    def work(size):
        with gate.place(lambda unpacked: unpacked):
            gate.admit(size)
            with lock:
                most[0] = max(most[0], gate.used)
            time.sleep(0.01)

    threads = [threading.Thread(target=work, args=(size,)) for size in sizes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert not any(thread.is_alive() for thread in threads)
    assert gate.used == 0
    return most[0]


def test_threads_hold_no_more_than_the_capacity():
    assert most_at_once(MemoryGate(100), [40] * 12) == 80


def test_what_is_larger_than_the_capacity_works_alone():
    assert most_at_once(MemoryGate(100), [300, 10, 300, 10]) == 300


def test_two_that_ask_for_more_do_not_wait_for_each_other():
    gate = MemoryGate(100)
    both = threading.Barrier(2, timeout=10)

    def work():
        with gate.place(lambda unpacked: unpacked):
            gate.admit(50)
            both.wait()
            gate.admit(90)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert not any(thread.is_alive() for thread in threads)
    assert gate.used == 0


def test_a_place_within_a_place_is_part_of_it():
    gate = MemoryGate(100)
    with gate.place(lambda unpacked: 2 * unpacked):
        with gate.place(lambda unpacked: 50 * unpacked):
            gate.admit(10)
        assert gate.used == 20
    assert gate.used == 0


def test_memory_is_given_back_after_an_error():
    gate = MemoryGate(100)

    def fail():
        with gate.place(lambda unpacked: unpacked):
            gate.admit(60)
            raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        fail()
    assert gate.used == 0
