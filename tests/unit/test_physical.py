"""Modulation, fading and codes against closed forms and against simulation from first principles."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import erfc, exp1

from gocom.channel_emulator.physical.coded import capacity, dispersion, normal_approximation, outage, packet_error_rate
from gocom.channel_emulator.physical.fading import Fading
from gocom.channel_emulator.physical.modulation import MODULATIONS, modulation_of
from gocom.common.counter_rng import CounterRng
from gocom.common.errors import UnknownName

SNR_DB = np.arange(0, 21, 2)
SNR = 10 ** (SNR_DB / 10)


def q(x):
    return 0.5 * erfc(x / np.sqrt(2))


def constellation(bits_per_component: int) -> np.ndarray:
    """Gray-labelled amplitudes, by word, built by reflection: independent of the code under test."""
    labels = [0, 1]
    for width in range(1, bits_per_component):
        labels += [label | 1 << width for label in reversed(labels)]
    levels = np.arange(len(labels)) * 2.0 - (len(labels) - 1)
    amplitude = np.zeros(len(labels))
    amplitude[labels] = levels
    return amplitude


def test_textbook_error_rates() -> None:
    d = np.sqrt(SNR / 10)
    qam16 = np.stack([(erfc(d) + erfc(3 * d)) / 4, (2 * erfc(d) + erfc(3 * d) - erfc(5 * d)) / 4], axis=-1)
    assert MODULATIONS["bpsk"].bit_error_rate(SNR) == pytest.approx(q(np.sqrt(2 * SNR)), rel=1e-12)
    assert MODULATIONS["qpsk"].bit_error_rate(SNR) == pytest.approx(q(np.sqrt(SNR)), rel=1e-12)
    assert MODULATIONS["qam16"].bit_error_rates(SNR) == pytest.approx(qam16, rel=1e-12)


@pytest.mark.parametrize("name", MODULATIONS)
@pytest.mark.parametrize("snr_db", [3, 10, 17])
def test_error_rates_of_each_place_by_simulation(name: str, snr_db: float) -> None:
    """Words on amplitudes of unit energy, noise, nearest amplitude: by lookup, without the code under test."""
    modulation, count, rng = MODULATIONS[name], 400_000, np.random.default_rng(snr_db)
    amplitude = constellation(modulation.bits_per_component)
    amplitude /= math.sqrt(modulation.components * np.mean(amplitude**2))
    word = rng.integers(0, modulation.levels, count)
    heard = amplitude[word] + rng.normal(0, math.sqrt(1 / (2 * 10 ** (snr_db / 10))), count)
    taken = np.argmin(np.abs(heard[:, None] - amplitude), axis=1)
    places = np.arange(modulation.bits_per_component)[::-1]
    wrong = (word[:, None] >> places & 1) != (taken[:, None] >> places & 1)
    snr = 10 ** (snr_db / 10)
    for rate, expected in zip(wrong.mean(axis=0), modulation.bit_error_rates(snr), strict=True):
        assert abs(rate - expected) < 4 * math.sqrt(expected * (1 - expected) / count) + 1e-12
    for bits in range(1, modulation.bits_per_component + 1):
        expected = float(modulation.component_error_rate(snr, bits))
        any_wrong = wrong[:, :bits].any(axis=1).mean()
        assert abs(any_wrong - expected) < 4 * math.sqrt(expected * (1 - expected) / count) + 1e-12
    mean, variance = modulation.bit_error_moments(snr)
    assert mean == pytest.approx(modulation.bit_error_rates(snr).sum(), rel=1e-9)
    assert wrong.sum(axis=1).var() == pytest.approx(float(variance), rel=0.1, abs=1e-5)
    bits = (word[:, None] >> places & 1).astype(np.uint8)
    noise = heard - amplitude[word]
    assert np.array_equal(modulation.detect(bits, noise) != bits, wrong)


def test_part_error_rate_is_the_textbook_one() -> None:
    for modulation in MODULATIONS.values():
        levels, distance = modulation.levels, modulation.half_step * np.sqrt(SNR)
        assert modulation.component_error_rate(SNR) == pytest.approx(2 * (1 - 1 / levels) * q(distance * np.sqrt(2)))


def test_rayleigh_means_are_the_closed_forms() -> None:
    rayleigh = Fading(0.0)
    for snr in SNR:
        ber = rayleigh.mean(lambda gain, snr=snr: MODULATIONS["bpsk"].bit_error_rate(gain * snr))
        assert ber == pytest.approx((1 - math.sqrt(snr / (1 + snr))) / 2, rel=1e-9)
    ergodic = rayleigh.mean(lambda gain: capacity(10 * gain))
    assert ergodic == pytest.approx(math.log2(math.e) * math.exp(0.1) * exp1(0.1), rel=1e-9)


@pytest.mark.parametrize("k", [0.5, 4.0, 100.0])
def test_rician_means_are_the_moment_form(k: float) -> None:
    theta = (np.arange(200_000) + 0.5) * (math.pi / 2 / 200_000)
    for snr in (1.0, 10.0, 100.0):
        sine = np.sin(theta) ** 2
        form = (1 + k) / (1 + k + snr / sine) * np.exp(-k * snr / ((1 + k) * sine + snr))
        ber = Fading(k).mean(lambda gain, snr=snr: MODULATIONS["bpsk"].bit_error_rate(gain * snr))
        assert ber == pytest.approx(form.mean() / 2, rel=1e-6)


@pytest.mark.parametrize("k", [0.0, 1.0, 10.0])
def test_gains_have_their_distribution(k: float) -> None:
    count, fading = 400_000, Fading(k)
    h = fading.gains(np.arange(count), CounterRng(3, "gain", 1, 0))
    power = np.abs(h) ** 2
    assert abs(power.mean() - 1) < 4 * power.std() / math.sqrt(count), "E|h|^2 = 1"
    assert power.var() == pytest.approx((1 + 2 * k) / (1 + k) ** 2, rel=0.02)
    for x in (0.01, 0.1, 0.5, 1.0, 2.0):
        expected = float(fading.cdf(x))
        assert abs(np.mean(power < x) - expected) < 4 * math.sqrt(expected * (1 - expected) / count) + 1e-9
    assert h.mean() == pytest.approx(math.sqrt(k / (k + 1)), abs=0.01)
    if not k:
        assert fading.cdf(SNR) == pytest.approx(1 - np.exp(-SNR), rel=1e-9)
        parts = np.stack([h.real, h.imag])
        assert np.cov(parts) == pytest.approx(np.eye(2) / 2, abs=0.005), "circularly symmetric"
    assert (fading.weights @ fading.nodes, fading.weights.sum()) == pytest.approx((1, 1), rel=1e-9)


def test_no_fading_is_a_gain_of_one() -> None:
    assert (Fading(None).gains(np.arange(5), CounterRng(1, "x")) == 1).all()
    assert Fading(None).mean(lambda gain: gain) == 1
    assert Fading(None).cdf([0.5, 2.0]).tolist() == [0, 1]


def test_outage_of_rayleigh_is_the_reference() -> None:
    reference = {5: 0.271, 10: 0.0952, 15: 0.0311, 20: 0.0100}
    for snr_db, expected in reference.items():
        assert Fading(0.0).cdf(1 / 10 ** (snr_db / 10)) == pytest.approx(expected, rel=6e-3)
    assert outage(np.array([0.9, 1.1]), 1.0).tolist() == [1, 0]


def test_codes() -> None:
    snr = np.array([1.0, 1.2, 1.5])
    assert capacity(np.array([1.0, 3.0])) == pytest.approx([1, 2])
    assert dispersion(np.array([1.0])) == pytest.approx([0.75 / math.log(2) ** 2])
    spare = 500 * (np.log2(1 + snr) - 1) + 0.5 * math.log2(500)
    v = snr * (snr + 2) / (snr + 1) ** 2 / math.log(2) ** 2
    assert normal_approximation(snr, 1.0, 500) == pytest.approx(q(spare / np.sqrt(500 * v)), rel=1e-9)
    rates = [float(normal_approximation(np.array([1.2]), 1.0, n)[0]) for n in (100, 1000, 10_000)]
    assert rates[0] > rates[1] > rates[2], "above the threshold a longer code is a better one"
    assert packet_error_rate(np.array([0.0, 0.1, 1.0]), 3).tolist() == pytest.approx([0, 1 - 0.9**3, 1])


def test_an_unknown_modulation_is_named() -> None:
    with pytest.raises(UnknownName, match="modulation: no 'qam256'; there are bpsk, qam16, qam64, qpsk"):
        modulation_of("qam256")
