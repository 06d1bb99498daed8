"""One end of every codec in a process of its own, whose environment says by which CPU kernels: see test_kernels.py.

python kernel_ends.py send|receive SOURCE CASES        pickles what it found to stdout
"""

import pickle
import sys
from pathlib import Path

import numpy as np

from gocom.common.byte_account import message_bytes
from gocom.common.csi import Csi
from gocom.common.element_order import transmission_order
from gocom.common.packetizer import depacketize, packetize
from gocom.common.pipeline import sampler_generator
from gocom.common.systems import SYSTEMS
from gocom.common.types import Budget, Goal, LinkSettings
from gocom.common.wire.frame_headers import header_to_proto
from gocom.common.wire.frame_messages import make_parameters
from gocom.common.zoo import open_zoo

LINK = LinkSettings(max_payload_bytes=64)


def send(image, cases):
    """The message of each case, (codec, options, share): as much as fits that share of what it would cost."""
    from gocom.transmitter.encoders import ENCODERS

    encoders = {name: ENCODERS.get(name)(open_zoo("cpu")) for name in {name for name, _, _ in cases}}
    return [_sent(encoders[name], image, SYSTEMS.get(name).options, *rest) for name, *rest in cases]


def _sent(encoder, image, kind, options, share):
    session = encoder.open(encoder.analyse(image), Goal(make_parameters(kind, options)))
    message = session.first(Csi(), Budget())
    return session.first(Csi(), Budget(int(share * message_bytes(message, LINK)))) if share else message


def receive(messages):
    """What this machine makes of each message: all that must be the same on every other, and the picture."""
    from gocom.receiver.decoders import DECODERS

    decoders = {name: DECODERS.get(name)(open_zoo("cpu")) for name in {message.codec for message in messages}}
    return [_received(message, decoders[message.codec]) for message in messages]


def _received(message, decoder):
    header, batch = packetize(message, LINK)
    arrived = depacketize(header, batch.select(np.arange(len(batch)) % 5 != 3), LINK)
    *_, final = decoder.reconstruct([arrived], generator=sampler_generator(0, 0, 0))
    exact = {
        "header": header_to_proto(header).SerializeToString(deterministic=True), "payload": batch.payload,
        "first_element": batch.first_element, "element_count": batch.element_count, "checksum": batch.checksum,
        "provenance": final.provenance, "noise": _noise(),
    }  # fmt: skip
    for frame, segment in zip(header.segments, arrived.segments, strict=True):
        exact[f"order {segment.kind}"] = transmission_order(header, frame, LINK)
        exact[f"elements {segment.kind}"], exact[f"received {segment.kind}"] = segment.elements, segment.received
        exact[f"erased {segment.kind}"] = segment.erased
        exact[f"wanted {segment.kind}"] = final.wanted.get(segment.kind)
    return exact, arrived.segments, final.image


def _noise():
    """As samplers draw it: of float32 it would not be the same."""
    import torch

    return torch.randn(4096, generator=sampler_generator(0, 0, 0), dtype=torch.float64).numpy()


if __name__ == "__main__":
    side, source, cases = sys.argv[1:]
    data = pickle.loads(Path(source).read_bytes())
    found = send(data, pickle.loads(Path(cases).read_bytes())) if side == "send" else receive(data)
    pickle.dump(found, sys.stdout.buffer)
