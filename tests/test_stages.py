"""Stages of a work that overlap."""

import itertools
import threading
import time

import pytest

from mlpax.stages import Clock, ahead, in_order
from mlpax.wording import rates


def test_items_come_in_their_order_and_are_made_ahead():
    made, asked = [], threading.Event()

    def numbers():
        for i in range(10):
            made.append(i)
            if i == 2:
                asked.set()
            yield i

    found = ahead(numbers(), 3)
    assert next(found) == 0
    assert asked.wait(5)  # 1 and 2 are made though nobody has asked for them
    time.sleep(0.02)
    assert made == [0, 1, 2, 3][: len(made)]  # and the fourth at most
    assert list(found) == [*range(1, 10)]
    assert list(ahead([], 3)) == []


def test_an_error_comes_where_its_item_would_have():
    def numbers():
        yield 1
        yield 2
        raise ValueError("the third")

    found = ahead(numbers(), 5)
    assert (next(found), next(found)) == (1, 2)
    with pytest.raises(ValueError, match="the third"):
        next(found)


def test_who_stops_early_waits_for_no_more_items():
    made = []
    found = ahead((made.append(i) for i in itertools.count()), 2)
    next(found)
    found.close()
    assert len(made) <= 4
    assert threading.active_count() < 20


def test_work_of_several_threads_keeps_the_order():
    most, running, lock = 0, 0, threading.Lock()

    def work(i):
        nonlocal most, running
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.002 * (i % 3))
        with lock:
            running -= 1
        return i * i

    asked = []
    found = in_order(work, (asked.append(i) or i for i in range(40)), 3)
    assert next(found) == 0
    assert len(asked) == 6  # two for each thread
    assert list(found) == [i * i for i in range(1, 40)]
    assert most == 3


def test_of_several_errors_the_first_item_s_is_raised():
    def work(i):
        time.sleep(0.02 if i == 3 else 0)
        if i >= 3:
            raise ValueError(f"item {i}")
        return i

    found = in_order(work, range(100), 4)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="item 3"):
        next(found)


def test_the_seconds_of_a_stage_are_those_of_all_its_threads():
    clock = Clock()

    def wait():
        with clock.of("wait"):
            time.sleep(0.02)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.seconds["wait"] >= 0.06
    assert list(ahead([1, 2], 1, clock, "read")) == [1, 2]
    assert clock.seconds.keys() == {"wait", "read"}


def test_rates_in_words():
    said = "100 rows a second; one thread reads 400 rows a second, encodes 1,000 and predicts 200"
    assert rates(1000, 10, {"read": 2.5, "encode": 1.0, "predict": 5.0}) == said
    assert rates(1000, 10, {}) == "100 rows a second"
