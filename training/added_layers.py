"""Trained autoencoders with more to their decoders: what is new begins as the identity, so nothing is lost."""

from __future__ import annotations

from typing import TypeVar

import torch

from gocom.common.nets.vae import Vae
from gocom.common.nets.vq_tokenizer import VQTokenizer

Net = TypeVar("Net", Vae, VQTokenizer)
_LAST = "decoder.6."
"""The convolution before the shuffle to full resolution."""
_READS = "decoder.8.conv1."
"""The head's first convolution; nothing but its last one, which begins with zeros, hears of it."""


@torch.no_grad()
def grown(old: Net, blocks: int = 0, full_channels: int = 0) -> Net:
    """The same net, making the same pictures, with a larger decoder.

    Args:
        old: the net; handed back where it has all that already.
        blocks: residual blocks on the decoder's 1/4 grid, at least.
        full_channels: channels of its head at full resolution, where it has none.
    """
    first, have = old.config.decoder_blocks
    head = old.config.full_channels or full_channels
    if blocks <= have and head == old.config.full_channels:
        return old
    config = {name: value for name, value in old.config.items() if not name.startswith("_")}
    new: Net = type(old)(**(config | {"decoder_blocks": (first, max(blocks, have)), "full_channels": head}))
    state, known = new.state_dict(), old.state_dict()
    for name, value in known.items():
        if name.startswith(_LAST):  # red, green and blue come first; the others keep what they begin with
            state[name][: len(value)] = value
        else:
            state[name] = value
    new.load_state_dict(state)
    new.to(old.device).train(old.training)
    return new


@torch.no_grad()
def with_head_like(old: Net, other: Net) -> Net:
    """The same net, making the same pictures, with a head that can be averaged with another net's.

    Where `grown` begins with random weights it has the other's, which change nothing as long as the head's last
    convolution is zero. An average with weights that nothing was learned from would be worse than either net.

    Args:
        old: the net; handed back where it has a head.
        other: a net that has one and is of the same architecture otherwise.
    """
    new = grown(old, full_channels=other.config.full_channels)
    if new is not old:
        state, known, given = new.state_dict(), old.state_dict(), other.state_dict()
        for name, value in state.items():
            if name.startswith(_READS):
                value.copy_(given[name])
            elif name.startswith(_LAST):
                value[len(known[name]) :] = given[name][len(known[name]) :]
    return new
