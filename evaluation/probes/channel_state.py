"""What a transmitter knows of the channel: what the emulator would tell it, without error."""

from __future__ import annotations

from dataclasses import dataclass, field

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.channel_state import InstantaneousCsiQuery, compute_csi
from gocom.common.channel_spec import parse_spec
from gocom.common.csi import CsiKind
from gocom.common.types import LinkSettings
from gocom.evaluation.experiment.cases import Asked
from gocom.evaluation.experiment.experiment import Settings

MEAN, GAINS = CsiKind.STATISTICAL.value, CsiKind.INSTANTANEOUS.value


@dataclass(frozen=True, slots=True)
class Knowing:
    """Level: settings, and what the transmitter knows of the channel. The factors before say all that decides packets.

    Attributes:
        kind: MEAN: long-run rates and the mean SNR; GAINS: the gain of each packet of the first round, too.
    """

    kind: str
    settings: Settings = field(default_factory=dict)

    def __call__(self, asked: Asked) -> Settings:
        """The settings with `csi`."""
        chain = Chain.from_profile(parse_spec(asked.settings["channel"], seed=asked.seed))
        query = None
        if self.kind == GAINS:
            sent = asked.bench.send(asked.picture, **{**asked.settings, **self.settings, "channel": "clean"})
            query = InstantaneousCsiQuery(asked.picture.index, 0, sent.rounds[0].packets_sent)
        payload_bytes = asked.settings.get("link", LinkSettings()).max_payload_bytes
        return {**self.settings, "csi": compute_csi(chain, payload_bytes, query)}
