"""The lami_go study's data and what its probes compute without a net: fillers, budgets, ranks, claims, its page."""

import re

import numpy as np
import pytest

from gocom.evaluation.experiment import page
from gocom.evaluation.experiment.experiment import Against
from gocom.evaluation.experiment.findings import PsnrCost
from gocom.evaluation.experiment.views import sentences
from gocom.evaluation.measure.fillers import most_frequent_received, nearest_received
from gocom.evaluation.probes.equal_bytes import smallest_within
from gocom.evaluation.probes.token_filling import tenths
from gocom.evaluation.studies.lami_go import LOSSY, STUDY

ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X")
EVERYTHING = [f"Fig. {i}" for i in range(1, 17)] + [f"Table {number}" for number in ROMAN]
EXPERIMENTS = {one.name: one for one in STUDY.experiments}


def grid(text):
    """Lines of digits, a dot is missing -> tokens int64 [h, w], received bool [h, w]."""
    lines = text.split()
    tokens = np.array([[0 if c == "." else int(c) for c in line] for line in lines], np.int64)
    return tokens, np.array([[c != "." for c in line] for line in lines])


def test_nearest_received():
    assert nearest_received(*grid("7...1 7...1"))[:, [0, 1, 3, 4]].tolist() == [[7, 7, 1, 1]] * 2
    assert nearest_received(*grid("... ...")).tolist() == [[0, 0, 0]] * 2


@pytest.mark.parametrize(
    ("text", "centre"),
    [
        ("6.6 9.. ...", 6),  # two against one
        ("6.. 9.. ...", 9),  # as frequent: the nearer
        ("112 1.3 322", 1),  # as frequent and as near: the smaller
        ("3...3 ..... ..... ..... 4....", 3),  # nothing around it: the next ring
    ],
)
def test_most_frequent_received(text, centre):
    tokens, received = grid(text)
    filled = most_frequent_received(tokens, received)
    assert filled[tokens.shape[0] // 2, tokens.shape[1] // 2] == centre
    assert (filled[received] == tokens[received]).all()


def test_most_frequent_of_nothing():
    assert not most_frequent_received(*grid("... ...")).any()


@pytest.mark.parametrize("budget", [0, 99, 100, 101, 555, 1000, 2000])
def test_smallest_within_a_budget(budget):
    sizes = [1000 - i for i in range(901)]
    fits = [i for i in range(901) if sizes[i] <= budget]
    assert smallest_within(0, 900, sizes.__getitem__, budget) == (fits[0] if fits else None)


def test_tenths_of_a_perfect_and_of_a_blind_ranking():
    off = np.r_[np.ones(20), np.zeros(180)] + np.linspace(0, 0.1, 200) * np.r_[np.ones(20), np.zeros(180)]
    perfect = tenths(off, off)
    assert perfect["wrong_top"] == 1 and perfect["wrong_rest"] == 0
    assert perfect["rank_of_uncertainty"] == pytest.approx(1)
    assert perfect["off_top"] > 1 and perfect["off_rest"] == 0
    assert tenths(np.zeros(200), off)["rank_of_uncertainty"] == 0


def rows_of(db, **keys):
    """Six pictures of each of two sets; each is 1 dB better than the one before."""
    return [
        {"set": name, "picture": picture, "seed": None, "bytes": 1000, "missing": 0.25, **keys}
        | {"psnr_db": db + more, "ms_ssim": 0.8, "distance": 0.9 - db / 100}
        for name in ("images", "street")
        for more, picture in enumerate("abcdef")
    ]


def test_what_erasure_costs():
    rows = [
        row
        for channel, seed, db in (("clean", None, 22.0), (LOSSY, 0, 18.5), (LOSSY, 1, 21.5))
        for row in rows_of(db, policy="PRM 0.25", channel=channel, seed=seed)
    ]
    (said,) = PsnrCost("policy", {"channel": "clean"}, {"channel": LOSSY}, 3)(rows)
    assert said.startswith("PRM 0.25: it costs 2.00 (2.00 to 2.00) dB, of the worst picture 2.00 dB; 12 of 24 frames")
    assert PsnrCost("policy", {"channel": "clean"}, {"channel": "none"}, 3)(rows) == []


def test_every_figure_and_table_of_the_paper_is_in_one_claim():
    assert sorted(name for claim in STUDY.claims for name in claim.names.split(", ")) == sorted(EVERYTHING)
    assert all(claim.said and claim.differs for claim in STUDY.claims)


def test_the_papers_numbers_are_whole():
    claims = {claim.names: claim for claim in STUDY.claims}
    for claim in STUDY.claims:
        if claim.numbers is not None:
            assert all(len(line) == len(claim.numbers.head) for line in claim.numbers.lines)
    four, seven = claims["Table IV"].numbers.lines, claims["Table VII"].numbers.lines
    assert len(four) == 9 and all(re.fullmatch(r"0\.\d+, \d+\.\d\d", str(cell)) for line in four for cell in line[2:])
    last = {(four[i - i % 3][0], line[1]): line[-1].split(", ")[1] for i, line in enumerate(four)}
    assert f"{last['PDM 1/4', 'COCO-Stuff']} at 194/200" in claims["Table II"].said
    assert str({line[0]: line for line in seven}["LaMI-GO, PRM p = 0.25"][2]) == last["PRM 0.25", "Cityscapes"]
    one = {line[0]: line for line in claims["Table I"].numbers.lines}["LaMI-GO"]
    assert f"FID {one[2]}, LPIPS {one[1]}" in claims["Table X"].said and len(claims["Table I"].numbers.lines) == 15


def test_noise_setups_have_the_rates_of_their_kind():
    noise = EXPERIMENTS["noise"]
    packets = [
        level for level in noise.factors[2].levels if noise.only({"setup": 3, "losses": "i.i.d.", "level": level})
    ]
    bits = [level for level in noise.factors[2].levels if noise.only({"setup": 4, "losses": "bursty", "level": level})]
    assert packets == [0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5]
    assert bits == [1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1]
    assert not noise.only({"setup": 1, "losses": "bursty", "level": 0.0})


def test_the_closest_tokens_against_the_farthest():
    rows = rows_of(24.5, of="closest") + rows_of(18.5, of="farthest")
    (against,) = [view for view in EXPERIMENTS["table_iii"].views if isinstance(view, Against)]
    (said,) = sentences(against, rows)
    assert said.startswith("closest against farthest. PSNR in dB: better everywhere.")
    assert "deep-feature distance: better everywhere" in said


def test_the_page_says_what_was_found_and_what_was_not_measured(tmp_path):
    rows = [row for setup in (1, 3) for level in (0.0, 0.05, 0.2, 0.5)
            for row in rows_of(22 - setup * level, setup=setup, losses="i.i.d.", level=level)]  # fmt: skip
    path = page.write(STUDY, {"noise": rows}, tmp_path, ["measured"], "gocom eval --paper lami_go")
    html, readme = path.read_text(), (path.parent / "README.md").read_text()
    assert 'src="http' not in html and "<script src" not in html
    assert "0.2 against 0.0. PSNR in dB: worse everywhere" in readme
    assert "gocom eval --paper lami_go --experiments table_iii measures it" in readme
    assert readme.count("not measured yet") > len(STUDY.claims) / 2
    assert [file.name for file in (tmp_path / "figures").iterdir()] == ["noise_packets.png"]
    assert "| LaMI-GO, PRM p = 0.25 | 9.39 | 22.72 | 194/200 |" in readme
