"""The sampler of LaMI-GO, with nets made of formulas."""

import torch

from receiver.samplers.latent_mixture import multinomial, renoise, sample

K, SHAPE = 32, (1, 8, 8)


def oracle(truth):
    return lambda tokens, t: 20.0 * torch.nn.functional.one_hot(truth, K).permute(0, 3, 1, 2).float()


def setup(seed=0):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(K, SHAPE, generator=generator)
    received = torch.rand(SHAPE, generator=generator) < 0.6
    return truth, received, torch.where(received, truth, 0), generator


def run(denoise, tokens, received, generator, steps=8, renoise_steps=4, **options):
    return list(
        sample(
            denoise,
            tokens,
            received,
            codebook_size=K,
            num_inference_steps=steps,
            renoise_steps=renoise_steps,
            generator=generator,
            **options,
        )
    )


def test_an_oracle_is_followed_and_every_step_is_seen():
    truth, received, tokens, generator = setup()
    steps = run(oracle(truth), tokens, received, generator)
    assert len(steps) == 8
    assert (steps[-1] == truth).all()


def test_received_tokens_are_put_back_at_every_step():
    _, received, tokens, generator = setup()
    for step in run(lambda x, t: torch.randn(1, K, 8, 8), tokens, received, generator):
        assert (step[received] == tokens[received]).all()


def test_what_the_net_sees():
    """Random codewords first; t falls from the missing share; received tokens are always in place."""
    truth, received, tokens, generator = setup()
    seen = []

    def denoise(x, t):
        seen.append((x.clone(), float(t)))
        return oracle(truth)(x, t)

    run(denoise, tokens, received, generator)
    missing = float((~received).float().mean())
    times = [t for _, t in seen]
    assert times[0] == torch.tensor(missing) and times == sorted(times, reverse=True) and times[-1] > 0
    assert all((x[received] == tokens[received]).all() for x, _ in seen)
    wrong = [(x != truth)[~received].float().mean() for x, _ in seen]
    assert wrong[0] > 0.8 and wrong[1] > 0.4 and max(wrong[4:]) == 0  # re-noised before step 4, not after


def test_same_seed_same_tokens():
    truth, received, tokens, _ = setup()
    noisy = lambda x, t: oracle(truth)(x, t) * 0.02  # noqa: E731
    first, second = (run(noisy, tokens, received, torch.Generator().manual_seed(3))[-1] for _ in range(2))
    other = run(noisy, tokens, received, torch.Generator().manual_seed(4))[-1]
    assert (first == second).all() and (first != other).any()


def test_multinomial_draws_the_distribution():
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.1]])).repeat(20000, 1)
    drawn = torch.bincount(multinomial(logits, 1.0, torch.Generator().manual_seed(0)), minlength=3) / 20000
    assert (drawn - torch.tensor([0.7, 0.2, 0.1])).abs().max() < 0.015
    assert (multinomial(logits, 0.05, torch.Generator().manual_seed(0)) == 0).all()


def test_renoise_share():
    tokens, noise = torch.zeros(1, 100, 100, dtype=torch.int64), torch.ones(1, 100, 100, dtype=torch.int64)
    share = renoise(tokens, noise, 0.3, torch.Generator().manual_seed(0)).float().mean()
    assert abs(float(share) - 0.3) < 0.02
