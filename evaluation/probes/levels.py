"""Levels of factors that depend on the case: the paper's noise setups, and captions that are wrong or lost."""

from __future__ import annotations

from dataclasses import dataclass

from gocom.client.noise_setups import noise_setup
from gocom.common.types import LinkSettings
from gocom.evaluation.experiment.cases import Asked
from gocom.evaluation.experiment.experiment import Settings


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise setup of client/noise_setups.py that the key `setup` names, at this rate of packets or bits.

    Its losses come in bursts where the key `losses` is "bursty".
    """

    rate: float

    def __call__(self, asked: Asked) -> Settings:
        """Channel, link and options."""
        setup = noise_setup(asked.keys["setup"], self.rate, asked.keys["losses"] == "bursty")
        link = LinkSettings(interleave=setup.interleave)
        options = setup.options_for(asked.bench.study.system)
        return {"channel": setup.channel if self.rate else "clean", "link": link, **options}


def tokens_lost(asked: Asked) -> Settings:
    """Packets of segment 1 are lost at the key `rate`; a caption, which is segment 0, arrives."""
    return {"channel": f"packet_erasure:rate={asked.keys['rate']},segment=1" if asked.keys["rate"] else "clean"}


def caption_lost(asked: Asked) -> Settings:
    """As `tokens_lost`, and all packets of the caption are lost."""
    return {"channel": f"packet_erasure:rate={asked.keys['rate']},segment=1+packet_erasure:rate=1,segment=0"}


def caption_wrong(asked: Asked) -> Settings:
    """As `tokens_lost`, with the caption of a picture of another class."""
    other = asked.bench.opposite(asked.picture)
    return {**tokens_lost(asked), "caption": asked.bench.codec().encoder.analyse(other.image).caption()}
