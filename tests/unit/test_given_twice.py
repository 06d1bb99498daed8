"""A value that is given twice is refused by name, wherever there are keys and values; the last one does not win."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from gocom.client.cli import app
from gocom.common.channel_spec import parse_spec
from gocom.common.errors import InvalidInput
from gocom.common.image_files import png_bytes
from gocom.evaluation.compare.methods import parse_methods


@pytest.mark.parametrize("name", ["send", "stream"])
@pytest.mark.parametrize("again", ["quality=90", "quality=5", " quality = 90"])
def test_an_option_of_a_codec(name, again, tmp_path):
    photo = tmp_path / "ok.png"
    photo.write_bytes(png_bytes(np.zeros((64, 64, 3), np.uint8)))
    words = [name, str(photo), "--codec", "jpeg", "--option", "quality=5", "--option", again, "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"] == "option: quality is given twice; give one value"


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("packet_erasure:rate=0.1,rate=0.2", "packet_erasure.rate: given twice"),
        ("clean+my_fault:a=1,a=2", "my_fault.a: given twice"),
        ("netem:loss 5% loss 10%", "'loss': given twice"),
        ("netem:loss 5% drop 10%", "'drop': given twice"),
    ],
)
def test_a_parameter_of_a_channel(spec, name):
    with pytest.raises(InvalidInput, match=name):
        parse_spec(spec)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("impairments: [{packet_erasure: {rate: 0.1, rate: 0.2}}]", "duplicate key .rate."),
        ("seed: 1\nseed: 2", "duplicate key .seed."),
        ("impairments: [{mine: {1: 0.1, '1': 0.2}}]", "mine.1: given twice"),
    ],
)
def test_a_key_of_a_yaml_file(text, name, tmp_path):
    (tmp_path / "a.yml").write_text(text)
    with pytest.raises(InvalidInput, match=name):
        parse_spec(str(tmp_path / "a.yml"))


def test_an_option_of_an_evaluated_codec():
    with pytest.raises(InvalidInput, match="codecs: jpeg:quality=5,quality=90: quality is given twice"):
        parse_methods(["jpeg:quality=5,quality=90"])


def test_a_term_of_a_loss():
    pytest.importorskip("torch")
    from gocom.training.terms import Weights

    with pytest.raises(InvalidInput, match="terms: st_lpips is given twice"):
        Weights.parse("st_lpips=1, st_lpips=2", Weights())
    assert Weights.parse(" st_lpips = 2 ", Weights()).st_lpips == 2
