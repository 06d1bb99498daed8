"""The decode loop: rounds of all link streams in, pictures out, several frames at a time where the settings say so."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from gocom.common.logs import get_logger
from gocom.receiver.frame_decoding import Undecoded, decode, together
from gocom.receiver.frames import DecodeJob, LinkDependencies

log = get_logger("receiver")


async def decode_all(dependencies: LinkDependencies) -> None:
    """Decode queued rounds for ever: one, and up to `batch_frames` with those that wait already."""
    jobs, held = dependencies.jobs, list[DecodeJob]()
    while True:
        batch = [held.pop() if held else await jobs.get()]
        while not held and len(batch) < dependencies.settings.batch_frames and not jobs.empty():
            job = jobs.get_nowait()
            # A frame's next round builds on what comes of this one.
            same_frame = any(job.frame is other.frame for other in batch)
            (held if same_frame else batch).append(job)
        await process(dependencies, batch)


async def process(dependencies: LinkDependencies, jobs: Sequence[DecodeJob]) -> None:
    """Unpack and decode rounds of different frames. Never raises for what the wire brought."""
    try:
        taken = [(job, frame) for job in jobs if (frame := await job.session.take_round(job)) is not None]
        frames = [frame for _, frame in taken]
        for indices in await _together(dependencies, frames):
            work = partial(decode, dependencies.decoders, [frames[i] for i in indices])
            for i, outcome in zip(indices, await dependencies.decoders.run(work), strict=True):
                job, _ = taken[i]
                job.session.conclude(job, outcome)
    except Exception as error:
        # Not foreseen. These frames fail; the loop goes on, or all others would wait for ever.
        log.critical("decoding failed", exc_info=error)
        for job in jobs:
            job.session.give_up(job, error)
    finally:
        for job in jobs:
            job.session.done()


async def _together(dependencies: LinkDependencies, frames: Sequence[Undecoded]) -> list[list[int]]:
    if len(frames) < 2:
        return [[i] for i in range(len(frames))]
    return await dependencies.decoders.run(partial(together, dependencies.decoders, frames))
