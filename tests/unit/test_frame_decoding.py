"""Decoding of frames in the receiver's worker: what a failure leaves behind."""

import gc
import weakref
from functools import partial

import numpy as np
import pytest

from gocom.common.codec_worker import CodecWorker
from gocom.common.errors import DecodeFailed
from gocom.common.systems.classical import ClassicalHeader
from gocom.common.types import FrameHeader, ReceivedMessage, ReceivedSegment
from gocom.common.zoo import open_zoo
from gocom.receiver.decoders import DECODERS
from gocom.receiver.frame_decoding import DecodeInput, decode


def damaged_frame(received: bool) -> DecodeInput:
    """A frame of jpeg with a file of zeros, or with none of its bytes."""
    file = ReceivedSegment(0, np.zeros(64, np.int64), np.full(64, received))
    return DecodeInput((ReceivedMessage(FrameHeader("jpeg", ClassicalHeader(), 64, 64, ()), (file,), 1, 1),), seed=0)


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("received", [True, False])
async def test_a_frame_that_could_not_be_decoded_is_freed_without_the_garbage_collector(no_collector, received):
    worker = CodecWorker(DECODERS, open_zoo("cpu"), "decode")
    frames = [damaged_frame(received)]
    data = weakref.ref(frames[0].rounds[0].segments[0].elements)
    outcomes = await worker.run(partial(decode, worker, None, frames))
    await worker.close()
    assert isinstance(outcomes[0], DecodeFailed) and str(outcomes[0]).startswith("jpeg: ")
    frames.clear()
    assert data() is None
