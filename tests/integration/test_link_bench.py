"""The relay, the emulator and the sink of the link bench, as processes."""

import pytest

from gocom.evaluation.benches import link_bench


def test_a_small_run_counts_what_arrives(monkeypatch):
    monkeypatch.setattr(link_bench, "FRAME_PACKETS", 1024)
    clean, lossy = link_bench.measure(["clean", "packet_erasure:rate=0.2"], pairs=2, frames=2)
    assert clean.delivered == 1.0 and clean.pairs == lossy.pairs == 2
    # 4 x 1024 packets: four standard deviations are 0.025.
    assert lossy.delivered == pytest.approx(0.8, abs=0.025)
    assert clean.ratio > 0 and clean.ratio_low <= clean.ratio <= clean.ratio_high
