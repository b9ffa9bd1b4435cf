"""The rows of a fit as scikit-learn shuffles them."""

import numpy as np

from mlpax.estimators.rows import Shuffles


def test_orders_drawn_too_many_are_drawn_again():
    whole, parts = (Shuffles(np.random.RandomState(0), 5, 8) for _ in range(2))
    expected = whole(0, 4)
    np.testing.assert_array_equal(np.sort(expected[:, :5]), np.tile(np.arange(5), (4, 1)))
    np.testing.assert_array_equal(expected[:, 5:], np.tile([5, 6, 7], (4, 1)))
    np.testing.assert_array_equal(parts(0, 3), expected[:3])
    np.testing.assert_array_equal(parts(1, 3), expected[1:])


def test_the_generator_is_left_as_if_only_the_epochs_that_ran_had_been_drawn():
    generator, by_hand = np.random.RandomState(0), np.random.RandomState(0)
    shuffles = Shuffles(generator, 5, 8)
    shuffles(0, 10)
    shuffles.rewind(3)
    for _ in range(3):
        by_hand.shuffle(np.arange(5))
    assert generator.randint(10**9) == by_hand.randint(10**9)
