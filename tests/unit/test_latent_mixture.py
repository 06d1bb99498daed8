"""The sampler of LaMI-GO, with nets made of formulas."""

import itertools

import pytest
import torch

from gocom.common.samplers.latent_mixture import (
    SamplerSettings,
    Step,
    guided,
    multinomial,
    nearest_to_expected,
    renoise,
    sample,
)
from gocom.common.systems.lami_go import TokenDraw, TSchedule

K, SHAPE = 32, (1, 8, 8)
CODEBOOK = torch.randn(K, 4, generator=torch.Generator().manual_seed(7))


def seeded(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def oracle(truth):
    return lambda tokens, t: 20.0 * torch.nn.functional.one_hot(truth, K).permute(0, 3, 1, 2).float()


def grids(batch=1, seed=0, share=0.6):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(K, (batch, 8, 8), generator=generator)
    received = torch.rand((batch, 8, 8), generator=generator) < share
    return truth, received, torch.where(received, truth, 0)


def hesitant(tokens, t):
    """Logits that depend on the grid, as a net's do, and leave something to chance."""
    return torch.nn.functional.one_hot((tokens.roll(1, 2) + 1) % K, K).permute(0, 3, 1, 2).float()


def run(denoise, tokens, received, generators=None, unconditional=None, noise_token=None, **settings):
    return list(
        sample(
            denoise, tokens, received, codebook=CODEBOOK,
            settings=SamplerSettings(**{"draw": TokenDraw.MULTINOMIAL} | settings),
            generators=generators or seeded(*range(100, 100 + len(tokens))), unconditional=unconditional,
            noise_token=noise_token,
        )
    )  # fmt: skip


def test_an_oracle_is_followed_and_every_step_is_seen():
    truth, received, tokens = grids()
    steps = run(oracle(truth), tokens, received)
    assert len(steps) == 8
    assert (steps[-1].tokens == truth).all()


def test_received_tokens_are_put_back_at_every_step():
    _, received, tokens = grids()
    for step in run(lambda x, t: torch.randn(1, K, 8, 8), tokens, received):
        assert (step.tokens[received] == tokens[received]).all()


def test_what_the_net_sees():
    """Random codewords first, then re-noised guesses, then guesses; received tokens are always in place."""
    truth, received, tokens = grids()
    seen = []

    def denoise(x, t):
        seen.append(x.clone())
        return oracle(truth)(x, t)

    run(denoise, tokens, received)
    assert all((x[received] == tokens[received]).all() for x in seen)
    wrong = [(x != truth)[~received].float().mean() for x in seen]
    assert wrong[0] > 0.8 and wrong[1] > 0.4 and max(wrong[4:]) == 0  # re-noised before step 4, not after


@pytest.mark.parametrize("schedule", TSchedule)
def test_t_falls_from_one_or_from_what_is_really_unknown(schedule):
    """t is told for each grid of the batch; the re-noised share of the missing tokens is the same in both schedules."""
    truth = torch.zeros(2, 8, 8, dtype=torch.int64)
    received = torch.zeros(2, 8, 8, dtype=torch.bool)
    received[0, :2], received[1, :6] = True, True  # unknown: 3/4 and 1/4
    times, noisy = [], []

    def denoise(x, t):
        times.append(t.tolist())
        noisy.append((x != 0)[~received].float().mean())
        return oracle(truth)(x, t)

    run(denoise, truth, received, num_inference_steps=4, renoise_steps=4, t_schedule=schedule)
    falling = [1.0, 0.75, 0.5, 0.25]
    unknown = (1.0, 1.0) if schedule is TSchedule.PAPER else (0.75, 0.25)
    assert times == [[u * f for u in unknown] for f in falling]
    assert all(abs(float(n) - f) < 0.2 for n, f in zip(noisy, falling, strict=True))
    assert SamplerSettings().t_schedule is TSchedule.MATCHED


def test_same_seed_same_tokens():
    _, received, tokens = grids()
    first, second = (run(hesitant, tokens, received, seeded(3))[-1].tokens for _ in range(2))
    other = run(hesitant, tokens, received, seeded(4))[-1].tokens
    assert (first == second).all() and (first != other).any()


def test_a_grid_is_drawn_the_same_whatever_its_companions_are():
    _, received, tokens = grids(batch=3)
    received[1] = True  # a companion of which nothing is missing draws nothing
    together = run(hesitant, tokens, received, seeded(5, 6, 7))[-1].tokens
    for i, seed in enumerate((5, 6, 7)):
        alone = run(hesitant, tokens[i : i + 1], received[i : i + 1], seeded(seed))[-1].tokens
        assert (together[i] == alone[0]).all()
    assert (run(hesitant, tokens, received, seeded(5, 6, 8))[-1].tokens[2] != together[2]).any()


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 3.0])
def test_guidance_goes_away_from_what_is_said_without_text(scale):
    _, received, tokens = grids()
    cond, without, called = torch.randn(1, K, 8, 8), torch.randn(1, K, 8, 8), []

    def say(name, logits):
        return lambda x, t: called.append(name) or logits

    (step,) = run(
        say("text", cond), tokens, received,
        unconditional=say("none", without), guidance_scale=scale, num_inference_steps=1,
    )  # fmt: skip
    expected = (without + scale * (cond - without)).permute(0, 2, 3, 1)[~received]
    torch.testing.assert_close(step.logits, expected)
    assert set(called) == {0.0: {"none"}, 1.0: {"text"}}.get(scale, {"text", "none"})  # no net runs for nothing


def test_without_text_there_is_no_guidance():
    _, received, tokens = grids()
    logits = torch.randn(1, K, 8, 8)
    (step,) = run(lambda x, t: logits, tokens, received, guidance_scale=0.0, num_inference_steps=1)
    assert (step.logits == logits.permute(0, 2, 3, 1)[~received]).all()
    assert guided(hesitant, oracle, 1.0) is hesitant


@pytest.mark.parametrize("tiny", [1e-6, 5e-324])
def test_a_tiny_temperature_is_argmax(tiny):
    _, received, tokens = grids()
    logits = torch.randn(1, K, 8, 8, generator=torch.Generator().manual_seed(1))
    likeliest = run(lambda x, t: logits, tokens, received, draw=TokenDraw.ARGMAX)
    cold = run(lambda x, t: logits, tokens, received, temperature=tiny, final_temperature=tiny)
    assert all((a.tokens == b.tokens).all() for a, b in zip(likeliest, cold, strict=True))
    warm = run(lambda x, t: logits, tokens, received, temperature=10, final_temperature=10)
    assert (warm[-1].tokens != likeliest[-1].tokens).any()


def test_expected_takes_the_codeword_of_least_squared_error():
    """Two likely codewords far apart, one in between: the likeliest is wrong half of the time and then by much."""
    codebook = torch.tensor([[0.0], [10.0], [4.5], [99.0]])
    p = torch.tensor([[0.51, 0.39, 0.05, 0.05], [0.97, 0.01, 0.01, 0.01]]).log()
    squared = (codebook - codebook.T).square()
    wanted = (p.exp() @ squared).argmin(1)
    assert nearest_to_expected(p, codebook).tolist() == wanted.tolist() == [1, 0]
    _, received, tokens = grids()
    logits = torch.randn(1, K, 8, 8, generator=torch.Generator().manual_seed(1)) * 3
    drawn, expected = (
        run(lambda x, t: logits, tokens, received, num_inference_steps=3, draw=draw)
        for draw in (TokenDraw.MULTINOMIAL, TokenDraw.EXPECTED)
    )
    assert all((a.tokens == b.tokens).all() for a, b in zip(drawn[:2], expected[:2], strict=True))
    last = nearest_to_expected(expected[-1].logits, CODEBOOK)
    assert (expected[-1].tokens[~received] == last).all() and (drawn[-1].tokens != expected[-1].tokens).any()


def test_temperature_goes_from_the_first_to_the_last_step():
    settings = SamplerSettings(num_inference_steps=5, temperature=2.0, final_temperature=0.4)
    assert [settings.temperature_at(i) for i in range(5)] == pytest.approx([2.0, 1.6, 1.2, 0.8, 0.4])
    assert SamplerSettings(num_inference_steps=1).temperature_at(0) == 1.0


def test_multinomial_draws_the_distribution():
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.1]])).repeat(20000, 1)
    uniform = torch.rand(20000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn = torch.bincount(multinomial(logits, 1.0, uniform), minlength=3) / 20000
    assert (drawn - torch.tensor([0.7, 0.2, 0.1])).abs().max() < 0.015
    assert (multinomial(logits, 0.05, uniform) == 0).all()


def test_renoise_share():
    tokens, noise = torch.zeros(1, 100, 100, dtype=torch.int64), torch.ones(1, 100, 100, dtype=torch.int64)
    share = renoise(tokens, noise, 0.3, seeded(0)).float().mean()
    assert abs(float(share) - 0.3) < 0.02


def test_probability_and_uncertainty_of_guesses():
    """Codewords 0 and 1 are near-alikes, 2 is far. Hesitation between 0 and 1 is less uncertain than a hint of 2."""
    codebook = torch.tensor([[0.0, 0.0], [0.1, 0.0], [3.0, 4.0]])
    probabilities = torch.tensor([[0.5, 0.5, 0.0], [0.9, 0.0, 0.1], [0.0, 0.0, 1.0]])
    missing = torch.tensor([[[True, True], [False, True]]])
    step = Step(torch.tensor([[[0, 0], [1, 2]]]), missing, probabilities.log())
    torch.testing.assert_close(step.probability, torch.tensor([[[0.5, 0.9], [1.0, 1.0]]]))
    torch.testing.assert_close(step.uncertainty(codebook), torch.tensor([[[0.005, 2.5], [0.0, 0.0]]]))


def test_probabilities_are_those_before_the_temperature():
    _, received, tokens = grids()
    *_, last = run(hesitant, tokens, received, temperature=0.02, final_temperature=0.02)
    e = torch.tensor(1.0).exp()
    assert (last.probability[received] == 1).all() and (last.tokens[received] == tokens[received]).all()
    torch.testing.assert_close(last.probability[~received], (e / (e + K - 1)).expand(int((~received).sum())))


HIDDEN = K + 5
"""A noise token beyond the codebook."""


def watched(denoise, seen):
    return lambda x, t: seen.append(x.clone()) or denoise(torch.where(x == HIDDEN, 0, x), t)


def test_hidden_tokens_are_drawn_once_for_good_and_fewer_are_hidden_at_each_step():
    _, received, tokens = grids(batch=2)
    seen = []
    steps = run(watched(hesitant, seen), tokens, received, noise_token=HIDDEN, renoise_steps=2, temperature=3.0)
    hidden = [x == HIDDEN for x in seen]
    assert torch.equal(hidden[0], ~received)  # all that is missing, and nothing else
    for before, x, now in zip(steps, seen[1:], hidden[1:], strict=False):
        assert torch.equal(x[~now], before.tokens[~now])  # what is no longer hidden keeps its token
    for more, fewer in itertools.pairwise(hidden):
        assert not (fewer & ~more).any() and fewer.sum() < more.sum()
    shares = [float(one.sum() / hidden[0].sum()) for one in hidden]
    assert shares == pytest.approx([1 - step / 8 for step in range(8)], abs=0.15)
    for step, now in zip(steps[1:], hidden[1:], strict=True):
        assert (step.tokens < K).all() and torch.equal(step.tokens[received], tokens[received])
        assert (step.tokens != steps[0].tokens)[now].any()


@pytest.mark.parametrize("draw", TokenDraw)
@pytest.mark.parametrize("steps", [1, 3, 40])  # at most of forty steps there is nothing to draw
def test_an_oracle_of_hidden_tokens_is_followed(draw, steps):
    truth, received, _ = grids(batch=2)
    received[:] = True
    received[:, 0, :2] = False
    tokens = torch.where(received, truth, 0)
    seen = []
    found = run(
        watched(oracle(truth), seen), tokens, received, noise_token=HIDDEN, num_inference_steps=steps, draw=draw
    )
    assert len(found) == len(seen) == steps and (found[-1].tokens[received] == truth[received]).all()
    assert all(torch.equal(step.tokens, truth) for step in found)


def test_a_grid_with_hidden_tokens_is_drawn_the_same_whatever_its_companions_are():
    _, received, tokens = grids(batch=3)
    received[1] = True
    together = run(watched(hesitant, []), tokens, received, seeded(5, 6, 7), noise_token=HIDDEN)[-1].tokens
    for i, seed in enumerate((5, 6, 7)):
        one = tokens[i : i + 1], received[i : i + 1]
        alone = run(watched(hesitant, []), *one, seeded(seed), noise_token=HIDDEN)[-1].tokens
        assert (together[i] == alone[0]).all()
    other = run(watched(hesitant, []), tokens, received, seeded(5, 6, 8), noise_token=HIDDEN)[-1].tokens
    assert (other[2] != together[2]).any()


def test_the_logits_of_a_token_are_those_of_the_step_that_drew_it_last():
    _, received, tokens = grids()
    seen = []

    def denoise(x, t):
        seen.append(x.clone())
        return torch.full((1, K, 8, 8), float(len(seen)))

    steps = run(denoise, tokens, received, noise_token=HIDDEN)
    drawn_at = sum((x == HIDDEN).float() for x in seen)[~received]
    assert torch.equal(steps[-1].logits[:, 0], drawn_at) and set(drawn_at.tolist()) == set(range(1, 9))
    assert (steps[0].logits == 1).all() and (steps[1].logits <= 2).all()
