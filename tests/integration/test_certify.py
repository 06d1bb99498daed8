"""gocom channel certify: what it writes, what it says, and that a channel that is a little wrong does not pass."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from gocom.channel_emulator.impairments.bit_flip import BitFlip
from gocom.channel_emulator.impairments.block_fading import BlockFading
from gocom.channel_emulator.impairments.delay import Delay
from gocom.channel_emulator.impairments.duplicate import Duplicate
from gocom.channel_emulator.impairments.gilbert_elliott import GilbertElliott
from gocom.channel_emulator.impairments.packet_erasure import PacketErasure
from gocom.channel_emulator.impairments.rate_limit import RateLimit
from gocom.client.cli import app
from gocom.evaluation.channel import capacity_figure
from gocom.evaluation.channel.cases import CASES, Case, chain_of, wrong_models
from gocom.evaluation.channel.certify import SHOWS, certify
from gocom.evaluation.channel.curves import burst_lengths, run_lengths
from gocom.evaluation.channel.figures import FIGURES

QUICK = ["packet_erasure:rate=0.3", "bit_flip:rate=2e-2,damage=deliver", "block_fading:snr_db=9,fading=none"]


def run(*words):
    return CliRunner().invoke(app, ["channel", "certify", *words])


def test_a_page_and_the_verdict(tmp_path):
    result = run(*QUICK, "--out", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert "All pass" in result.output and "packet_erasure.rate off by 2 %" in result.output
    page = (tmp_path / "index.html").read_text()
    assert all(spec in page for spec in QUICK) and "Some fail" not in page
    kept = json.loads((tmp_path / "certificates.json").read_text())["certificates"]
    assert [c["spec"] for c in kept] == QUICK
    for certificate in kept:
        assert abs(certificate["z"]) < 4
        assert all(abs(wrong["expected_z"]) >= SHOWS and abs(wrong["z"]) > 4 for wrong in certificate["wrong"])


@pytest.mark.parametrize(
    ("spec", "fault", "parameter"),
    [
        ("packet_erasure:rate=0.3", PacketErasure, "rate"),
        ("gilbert_elliott:p=0.2,r=0.5", GilbertElliott, "r"),
        ("bit_flip:rate=2e-2", BitFlip, "rate"),
        ("block_fading:snr_db=9,fading=none,modulation=qpsk", BlockFading, "snr_db"),
        ("duplicate:rate=0.3", Duplicate, "rate"),
        ("delay:delay_ms=50,jitter_ms=20,deadline_ms=65", Delay, "delay_ms"),
        ("rate_limit:rate_kbps=2000,queue_ms=5000", RateLimit, "rate_kbps"),
    ],
)
def test_a_channel_that_draws_with_an_error_of_two_per_cent_fails(monkeypatch, tmp_path, spec, fault, parameter):
    draw = fault.draw

    def wrong(self, batch, rng):
        value = getattr(self, parameter)
        return draw(replace(self, **{parameter: value + 0.086 if parameter == "snr_db" else value * 1.02}), batch, rng)

    monkeypatch.setattr(fault, "draw", wrong)
    result = run(spec, "--out", str(tmp_path))
    assert result.exit_code == 1 and "FAIL" in result.output


def test_several_faults_are_judged_each_on_its_own():
    found = certify(Case("packet_erasure:rate=0.3+bit_flip:rate=2e-2"), 3)
    assert [c.name for c in found] == ["packet_erasure", "bit_flip"]
    assert all(c.passed for c in found)
    assert [w.parameter for w in found[1].wrong] == ["bit_flip.rate"]


@pytest.mark.parametrize(
    ("spec", "words"), [("packet_erasure:rate=2", "rate: 2.0 is not in 0 to 1"), ("clean", "no impairment to certify")]
)
def test_bad_specs(tmp_path, spec, words):
    result = run(spec, "--out", str(tmp_path / "none"))
    assert result.exit_code == 2 and words in result.output
    assert not (tmp_path / "none").exists()


def test_every_fault_and_every_parameter_is_in_some_case():
    seen = {name for case in CASES for name, _ in wrong_models(chain_of(case.spec, 0))}
    wanted = {
        "packet_erasure.rate", "gilbert_elliott.p", "gilbert_elliott.r", "gilbert_elliott.loss_bad",
        "gilbert_elliott.loss_good", "bit_flip.rate", "burst_bit_flip.p", "burst_bit_flip.r", "burst_bit_flip.rate_bad",
        "burst_bit_flip.rate_good", "block_fading.snr_db", "block_fading.k_factor_db", "coded_fading.snr_db",
        "coded_fading.code_rate", "coded_fading.code_length", "coded_fading.k_factor_db",
        "coded_fading.symbols_per_round", "block_fading.symbols_per_round", "reorder.rate",
        "duplicate.rate", "delay.delay_ms", "delay.jitter_ms", "delay.deadline_ms", "rate_limit.rate_kbps",
        "rate_limit.queue_ms", "rate_limit.overhead_bytes", "periodic_outage.period", "periodic_outage.length",
    }  # fmt: skip
    assert seen == wanted


@pytest.mark.parametrize("name", ["bursts", "amplitudes", "raptorq", "interleaver"])
def test_figures_that_take_seconds(tmp_path, name):
    scores = FIGURES[name](tmp_path / "figure.png")
    assert max(abs(z) for z in scores) < 4
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_the_figure_of_capacity(monkeypatch, tmp_path):
    monkeypatch.setattr(capacity_figure, "_FRAMES", 300)
    monkeypatch.setattr(capacity_figure, "SNR_DB", (0.0, 12.0, 30.0))
    scores = FIGURES["capacity"](tmp_path / "figure.png")
    assert len(scores) == 2 * 3 * 4 and max(abs(z) for z in scores) < 4
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    # A capacity that is 3 % too large is not within 1 %, and shows.
    capacity = capacity_figure.capacity
    monkeypatch.setattr(capacity_figure, "capacity", lambda *a: (capacity(*a)[0], int(1.03 * capacity(*a)[1])))
    assert max(abs(z) for z in FIGURES["capacity"](tmp_path / "figure.png")) > 8


def test_burst_lengths():
    simple = burst_lengths(0.02, 0.25, 1.0, 0.0, 60)
    assert simple[:4] == pytest.approx([0.25 * 0.75**n for n in range(4)])
    assert burst_lengths(0.05, 0.2, 0.8, 0.1, 400).sum() == pytest.approx(1)
    fault = GilbertElliott(0.05, 0.2, 0.8, 0.1)
    mean = sum(n * share for n, share in enumerate(burst_lengths(0.05, 0.2, 0.8, 0.1, 400), 1))
    rate, pair = fault.expected_rate, fault.pair_erasure_rate(8)
    assert mean == pytest.approx(rate / (rate - pair))
    assert run_lengths(np.array([True, True, False, True])).tolist() == [2, 1]
