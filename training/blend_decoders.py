"""Averages the decoders of nets that one net was fine-tuned into: what both ends know is kept, without any training.

    python -m gocom.training.blend_decoders --net models/vae=0.2 --net build/sharp/vae=0.4 --net build/sharp3/vae=0.4 \
        --held-out eval/kodak --out build/blend/vae

Weights of a net and of its fine-tuned versions lie in one basin, so their average is a net, too, and often a better one
than either (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models" and "Model soups"). Encoders, codebooks and
latents have to be equal, so that all other nets stay as they are. A decoder without a head at full resolution counts as
one whose head adds zero.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import torch
import typer

from gocom.client.command_process import run_command
from gocom.common.errors import InvalidInput
from gocom.common.model_files import folder_hash
from gocom.common.nets.loading import load_net, resolve_device
from gocom.common.nets.vae import Vae
from gocom.common.nets.vq_tokenizer import VQTokenizer
from gocom.training.added_layers import with_head_like
from gocom.training.card import parameters, read_facts, write_lines
from gocom.training.compare_pictures import load
from gocom.training.export import save_half
from gocom.training.held_out import MEANING, HeldOut
from gocom.training.picture_recipe import is_a

Net = TypeVar("Net", Vae, VQTokenizer)
_KEEP_FLOAT = ("latent_mean", "latent_std", "codebook")
_OF_ONE_RUN = ("summary", "parameters", "architecture", "held out", "metrics", "before", "blended")
"""Facts of a card that are not gathered from all nets."""


def parse_shares(texts: Sequence[str]) -> dict[Path, float]:
    """Folders and their shares, from FOLDER=SHARE.

    Raises:
        InvalidInput: fewer than two, one that is not of this form, no net in a folder, or shares that do not sum to 1.
    """
    shares: dict[Path, float] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            share = float(number)
        except ValueError:
            share = math.nan
        if not name or not 0 < share < 1:
            raise InvalidInput(f"net: {text!r} is not FOLDER=SHARE with a share between 0 and 1")
        folder = Path(name)
        if not (folder / "config.json").is_file():
            raise InvalidInput(f"net: {name!r} holds no net; give the folder of a vae or a vq_tokenizer")
        if folder in shares:
            raise InvalidInput(f"net: {name!r} is given twice; a folder has one share")
        shares[folder] = share
    if len(shares) < 2 or not math.isclose(sum(shares.values()), 1, abs_tol=1e-6):
        words = " + ".join(f"{share:g}" for share in shares.values())
        raise InvalidInput(f"net: the shares are {words or 'none'}; at least two are needed, and their sum has to be 1")
    return shares


@torch.no_grad()
def blend(nets: Sequence[Net], shares: Sequence[float]) -> Net:
    """A net whose decoder's weights are the average of those of the nets, which are of one architecture.

    Args:
        nets: autoencoders whose decoders may differ, with a head at full resolution or without.
        shares: of each, in sum 1.

    Raises:
        InvalidInput: the nets differ in more than the weights of their decoders and having a head.
    """
    _check_alike(nets)
    headed = [(net, share) for net, share in zip(nets, shares, strict=True) if net.config.full_channels]
    if 0 < len(headed) < len(nets):  # the others learned nothing there: a head of theirs has the average of the rest
        total = sum(share for _, share in headed)
        known: Net = _average([net for net, _ in headed], [share / total for _, share in headed])
        alike: list[Net] = [with_head_like(net, known) for net in nets]
        return _average(alike, shares)
    return _average(nets, shares)


def _check_alike(nets: Sequence[Net]) -> None:
    first = nets[0]
    state, config, heads = first.state_dict(), _config(first), {net.config.full_channels for net in nets} - {0}
    for place, net in enumerate(nets[1:], 2):
        if wrong := [name for name, value in _config(net).items() if value != config[name]]:
            raise InvalidInput(f"net: number {place} and the first one differ in {', '.join(wrong)}; only heads may")
        for name, value in net.state_dict().items():
            if not name.startswith("decoder.") and not torch.equal(value, state[name]):
                raise InvalidInput(f"net: {name} of number {place} is not the first one's; only decoders may differ")
    if len(heads) > 1:
        raise InvalidInput(f"net: heads have {sorted(heads)} channels; all that have one need the same")


def _config(net: Net) -> dict[str, object]:
    """What has to be equal, with lists for tuples."""
    values = {name: value for name, value in net.config.items() if name[0] != "_" and name != "full_channels"}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _average(nets: Sequence[Net], shares: Sequence[float]) -> Net:
    """Of nets that differ in their decoders' weights alone."""
    states = [net.state_dict() for net in nets]
    made: Net = type(nets[0]).from_config(nets[0].config)
    made.load_state_dict(
        {
            name: sum(share * state[name].double() for share, state in zip(shares, states, strict=True))
            if name.startswith("decoder.")
            else value
            for name, value in states[0].items()
        }
    )
    made.eval()
    return made


def gathered(cards: Sequence[dict[str, str]]) -> dict[str, str]:
    """What the cards of several nets say, by fact: once where all say the same, otherwise a line a saying."""
    facts: dict[str, str] = {}
    for key in dict.fromkeys(key for card in cards for key in card if key not in _OF_ONE_RUN):
        says: dict[str, list[str]] = {}
        for place, card in enumerate(cards, 1):
            says.setdefault(card.get(key, "–"), []).append(f"net {place}")
        words = [f"{', '.join(of)}: {value}" for value, of in says.items()]
        facts[key] = next(iter(says)) if len(says) == 1 else "<br>".join(words)
    return facts


def _named(folder: Path, origin: str, share: float, place: int, card: dict[str, str]) -> str:
    """A net in the card: number, share, where it is from, the beginning of its hash, what it is a blend of itself."""
    blended = f", itself blended: ({card['blended']})" if "blended" in card else ""
    return f"{share:.0%} of net {place}, {origin} ({folder_hash(folder).hex()[:8]}){blended}"


def _has_head(folder: Path) -> bool:
    return bool(Vae.load_config(folder).get("full_channels"))  # of either kind: it only reads the file


def _blended(kind: type[Net], folders: Sequence[Path], shares: Sequence[float]) -> Net:
    nets: list[Net] = [load_net(kind, folder, torch.device("cpu")) for folder in folders]
    made: Net = blend(nets, shares)
    return made


def main(
    net: Annotated[list[str], typer.Option(help="FOLDER=SHARE of a vae or a vq_tokenizer; the first is what it was")],
    held_out: Annotated[Path, typer.Option(help="pictures never trained on")],
    out: Annotated[Path, typer.Option(help="folder to write; its name is the card's title")],
    origin: Annotated[
        list[str] | None, typer.Option(help="for the card, where each net is from, in their order; default: folders")
    ] = None,
    device: str = "auto",
    threads: int = os.cpu_count() or 1,
) -> None:
    """Average decoders, judge each net and the average, write weights and card."""
    torch.set_num_threads(threads)
    shares, where = parse_shares(net), resolve_device(device)
    folders = list(shares)
    origins = origin or [f"{folder.parent.name}/{folder.name}" for folder in folders]
    if len(origins) != len(folders):
        raise InvalidInput(f"origin: {len(origins)} for {len(folders)} nets; give one for each, or none")
    cards = [read_facts(folder) for folder in folders]
    headed = [card for folder, card in zip(folders, cards, strict=True) if _has_head(folder)]
    if all(is_a(Vae, folder) for folder in folders):
        made: Vae | VQTokenizer = _blended(Vae, folders, list(shares.values()))
    elif all(is_a(VQTokenizer, folder) for folder in folders):
        made = _blended(VQTokenizer, folders, list(shares.values()))
    else:
        raise InvalidInput("net: not all are of one kind; blend either vaes or vq_tokenizers")
    named = [
        _named(folder, of, share, place, card)
        for place, ((folder, share), of, card) in enumerate(zip(shares.items(), origins, cards, strict=True), 1)
    ]
    pictures = HeldOut(held_out, where)
    metrics = [(f"net {place}", pictures.means(load(folder, where))) for place, folder in enumerate(folders, 1)]
    save_half(made, out, keep_float=_KEEP_FLOAT)  # from here on `out` may have replaced the first net
    metrics.append(("blend", pictures.means(load(out, where))))
    facts = {
        "summary": cards[0]["summary"],
        "parameters": parameters(made),
        "architecture": (headed or cards)[0].get("architecture", "–"),
        "blended": "<br>".join([*named, "the average of the decoders' weights; all else is equal in them"]),
        **gathered(cards),
        "held out": pictures.line,
        "metrics": MEANING,
    }
    write_lines(out, out.name, facts, "net", metrics)
    typer.echo((out / "CARD.md").read_text())


if __name__ == "__main__":
    run_command(main)
