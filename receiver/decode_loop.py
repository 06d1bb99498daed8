"""The decode loop: decodes the queued rounds of all link streams, in batches if the settings allow."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from gocom.common.logs import get_logger
from gocom.receiver.frame_decoding import DecodeInput, decode, group_frames
from gocom.receiver.link_state import DecodeJob, LinkDependencies

log = get_logger("receiver")


async def decode_all(dependencies: LinkDependencies) -> None:
    """Decode queued rounds for ever, up to `batch_frames` at a time if several are waiting."""
    jobs = dependencies.decode_queue
    while True:
        # No two are of one frame: its next round is taken only after it was requested, which follows from this one.
        batch = [await jobs.get()]
        while len(batch) < dependencies.settings.batch_frames and not jobs.empty():
            batch.append(jobs.get_nowait())
        await process(dependencies, batch)


async def process(dependencies: LinkDependencies, jobs: Sequence[DecodeJob]) -> None:
    """Unpack and decode rounds of different frames. Does not raise for anything that came over the wire."""
    try:
        taken = [(job, frame) for job in jobs if (frame := await job.session.unpack_round(job)) is not None]
        frames = [frame for _, frame in taken]
        for indices in await _groups(dependencies, frames):
            work = partial(decode, dependencies.decoders, dependencies.tasks.get, [frames[i] for i in indices])
            for i, outcome in zip(indices, await dependencies.decoders.run(work), strict=True):
                job, _ = taken[i]
                await job.session.conclude(job, outcome)
    except Exception as error:
        # An unexpected error. These frames fail and the loop goes on, since all other frames depend on it.
        log.critical("decoding failed", exc_info=error)
        for job in jobs:
            job.session.fail_frame(job, error)
    finally:
        for job in jobs:
            job.session.job_done()


async def _groups(dependencies: LinkDependencies, frames: Sequence[DecodeInput]) -> list[list[int]]:
    if len(frames) < 2:
        return [[i] for i in range(len(frames))]
    return await dependencies.decoders.run(partial(group_frames, dependencies.decoders, frames))
