"""Philox: known answers of the paper's reference, and independence of order."""

import numpy as np

from gocom.common.counter_rng import CounterRng, philox4x32


def answer(word, key):
    return [int(v[0]) for v in philox4x32((np.full(1, word, np.uint64),) * 4, (key, key))]


def test_known_answers():
    assert answer(0, 0) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert answer(0xFFFFFFFF, 0xFFFFFFFF) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]


def test_numbers_belong_to_their_address():
    rng = CounterRng(7, "erasure", 3, 1)
    whole = rng.uniform(np.arange(1000))
    assert (rng.uniform(np.arange(999, -1, -1))[::-1] == whole).all()
    assert rng.uniform(17) == whole[17]
    for other in (CounterRng(8, "erasure", 3, 1), CounterRng(7, "flip", 3, 1), rng.at(4, 1), rng.at(3, 2)):
        assert (other.uniform(np.arange(1000)) != whole).all()


def test_many_at_once_are_those_of_the_blocks():
    rng, sequence = CounterRng(7, "erasure", 3, 1), np.array([5, 900, 0])
    many = rng.uniform_blocks(sequence, 2, 3)
    assert many.shape == (3, 6)
    assert (many[:, ::2] == rng.uniform(sequence[:, None], np.arange(2, 5))).all()
    words = rng.words(sequence[:, None], np.arange(2, 5))
    assert (many == (words >> np.uint64(11)).reshape(3, 6) * 2.0**-53).all()


def test_uniform_is_uniform():
    values = CounterRng(1, "u").uniform(np.arange(400_000))
    counts, _ = np.histogram(values, bins=100, range=(0, 1))
    chi = ((counts - 4000) ** 2 / 4000).sum()
    assert 40 < chi < 180  # 99 degrees of freedom


def test_permutation_is_one():
    order = CounterRng(5, "prm").permutation(1024)
    assert sorted(order.tolist()) == list(range(1024))
    assert order[:4].tolist() != [0, 1, 2, 3]
    long = CounterRng(5, "prm").permutation(200_000)
    assert (np.sort(long) == np.arange(200_000)).all() and len(CounterRng(5, "prm").permutation(0)) == 0
    words = CounterRng(5, "prm").words(long)[:, 0]
    assert (words[1:] >= words[:-1]).all()
