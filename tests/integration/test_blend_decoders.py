"""Decoders are blended by shares, a head or none, and what would make a wrong net is refused."""

import numpy as np
import pytest
import torch
from PIL import Image
from typer import Typer
from typer.testing import CliRunner

from gocom.common.errors import InvalidInput
from gocom.common.model_files import card_rows
from gocom.common.nets.loading import load_net
from gocom.common.nets.vae import Vae
from gocom.common.nets.vq_tokenizer import VQTokenizer
from gocom.training import blend_decoders
from gocom.training.added_layers import grown, with_head_like
from gocom.training.blend_decoders import blend, gathered, parse_shares
from gocom.training.card import read_facts, write_card
from gocom.training.export import save_half


def tiny(kind=Vae, full_channels=0, like=None, **sizes):
    """A net with random weights, its encoder and latents those of `like`."""
    net = kind(quarter_channels=8, eighth_channels=8, full_channels=full_channels, **sizes).eval()
    if like is not None:
        net.load_state_dict({k: v for k, v in like.state_dict().items() if "decoder." not in k}, strict=False)
    if full_channels:
        torch.nn.init.normal_(net.decoder[8].conv2.weight)
    return net


@pytest.mark.parametrize("kind", [Vae, VQTokenizer])
def test_weights_are_averaged_by_their_shares_and_encoders_stay(kind):
    torch.manual_seed(0)
    one = tiny(kind)
    two = tiny(kind, like=one)
    made = blend([one, two], [0.25, 0.75])
    for name, value in made.state_dict().items():
        a, b = one.state_dict()[name], two.state_dict()[name]
        if name.startswith("decoder."):
            torch.testing.assert_close(value, 0.25 * a + 0.75 * b)
        else:
            assert torch.equal(value, a)
    same, z = blend([one, one], [0.3, 0.7]), torch.randn(1, one.decoder[0].in_channels, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(same.decode_latent(z), one.decode_latent(z))


def test_a_net_without_a_head_takes_part_with_one_that_adds_nothing():
    torch.manual_seed(0)
    plain = tiny()
    heads = [tiny(full_channels=4, like=plain) for _ in range(2)]
    wide = with_head_like(plain, heads[0])
    z = torch.randn(1, 8, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(wide.decode_latent(z), plain.decode_latent(z), rtol=0, atol=1e-6)
    assert torch.equal(wide.decoder[8].conv1.weight, heads[0].decoder[8].conv1.weight)
    assert with_head_like(heads[0], heads[1]) is heads[0]
    made = blend([plain, *heads], [0.2, 0.6, 0.2])
    state, first, (a, b) = made.state_dict(), plain.state_dict(), (head.state_dict() for head in heads)
    learned, last = "decoder.8.conv1.weight", "decoder.6.weight"
    torch.testing.assert_close(state[learned], 0.75 * a[learned] + 0.25 * b[learned])
    torch.testing.assert_close(state[last][48:], 0.75 * a[last][48:] + 0.25 * b[last][48:])
    torch.testing.assert_close(state[last][:48], 0.2 * first[last] + 0.6 * a[last][:48] + 0.2 * b[last][:48])
    added = "decoder.8.conv2.weight"
    torch.testing.assert_close(state[added], 0.6 * a[added] + 0.2 * b[added])
    assert made.config.full_channels == 4


def test_nets_that_differ_in_more_than_their_decoders_are_refused():
    one = tiny()
    with pytest.raises(InvalidInput, match=r"net: encoder\.\S+ of number 2 is not the first one's"):
        blend([one, tiny()], [0.5, 0.5])
    scaled = tiny(like=one)
    scaled.latent_std.mul_(2)
    with pytest.raises(InvalidInput, match="net: latent_std of number 3"):
        blend([one, one, scaled], [0.5, 0.25, 0.25])
    with pytest.raises(InvalidInput, match="net: number 2 and the first one differ in decoder_blocks"):
        blend([one, grown(one, blocks=5)], [0.5, 0.5])
    heads = [tiny(full_channels=count, like=one) for count in (2, 4)]
    with pytest.raises(InvalidInput, match=r"net: heads have \[2, 4\] channels"):
        blend([one, *heads], [0.5, 0.25, 0.25])


@pytest.fixture
def nets(tmp_path):
    """Folders `old/vae`, without a head, and `new/vae`, with one, and pictures."""
    torch.manual_seed(0)
    old = tiny()
    for name, net, minutes in (("old", old, 60.0), ("new", tiny(full_channels=4, like=old), 90.0)):
        folder = tmp_path / name / "vae"
        save_half(net, folder, keep_float=("latent_mean", "latent_std"))
        facts = {"summary": "A net.", "architecture": name, "loss": "L1", "before": "nothing", "data": f"{name}.tar"}
        write_card(folder, "vae", facts, net, 0, 1e-3, 10, 60 * minutes, [(10, {"psnr_db": 20.0})])
    (tmp_path / "photos").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (256, 256, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photos" / "0.png")
    return tmp_path


def test_the_card_says_what_was_blended(nets, monkeypatch):
    monkeypatch.setattr("gocom.training.held_out.weights_path", lambda name: None)  # ST-LPIPS takes long
    app, out = Typer(), nets / "out" / "vae"
    app.command()(blend_decoders.main)
    words = ["--net", f"{nets}/old/vae=0.2", "--net", f"{nets}/new/vae=0.8", "--held-out", str(nets / "photos")]
    words += ["--origin", "models/vae of commit 1", "--origin", "a run", "--out", str(out), "--device", "cpu"]
    assert CliRunner().invoke(app, [*words, "--threads", "1"], catch_exceptions=False).exit_code == 0
    made = load_net(Vae, out, torch.device("cpu"))
    old, new = (load_net(Vae, nets / name / "vae", torch.device("cpu")) for name in ("old", "new"))
    expected = blend([old, new], [0.2, 0.8]).half().float().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in made.state_dict().items() if "decoder" in name)
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(made.encode(x), old.encode(x))
    card, facts = (out / "CARD.md").read_text(), read_facts(out)
    assert all(row in card for row in card_rows(out)) and str(nets) not in card and "![" not in card
    assert facts["blended"].startswith("20% of net 1, models/vae of commit 1 (")
    assert "80% of net 2, a run (" in facts["blended"] and facts["summary"] == "A net."
    assert facts["minutes"] == "net 1: 60.0<br>net 2: 90.0" and facts["data"] == "net 1: old.tar<br>net 2: new.tar"
    assert facts["loss"] == "L1" and facts["architecture"] == "new" and "before" not in facts
    assert all(f"\n| {row} | " in card.split("## Held-out")[1] for row in ("net 1", "net 2", "blend"))


def test_what_is_said_by_one_net_only_is_told_apart():
    assert gathered([{"loss": "L1"}, {"loss": "L1", "taught by": "lite0"}, {"loss": "L1", "taught by": "lite0"}]) == {
        "loss": "L1",
        "taught by": "net 1: –<br>net 2, net 3: lite0",
    }


def test_shares_and_folders_have_to_be_whole(nets):
    old, new = nets / "old" / "vae", nets / "new" / "vae"
    assert parse_shares([f"{old}=0.3", f"{new}=0.7"]) == {old: 0.3, new: 0.7}
    for texts, words in (
        ([f"{old}=0.3", f"{new}=0.6"], r"net: the shares are 0\.3 \+ 0\.6; .* sum has to be 1"),
        ([f"{old}=0.99999999"], "at least two are needed"),
        ([], "the shares are none"),
        ([str(old)], "is not FOLDER=SHARE"),
        ([f"{old}=nan"], "is not FOLDER=SHARE"),
        ([f"{old}=-0.5", f"{new}=1.5"], "with a share between 0 and 1"),
        ([f"{old}=0.5", f"{nets / 'none'}=0.5"], "none' holds no net; give the folder"),
        ([f"{old}=0.5", f"{old}=0.5"], "is given twice"),
    ):
        with pytest.raises(InvalidInput, match=words):
            parse_shares(texts)
    (old / "CARD.md").unlink()
    with pytest.raises(InvalidInput, match=r"has no CARD\.md"):
        read_facts(old)
