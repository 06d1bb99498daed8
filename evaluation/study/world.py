"""What every part of a study works with: pictures by set, both ends of a codec, the judge, sends decoded in batches.

A send is the pipeline's own (`Codec.send`), except that the picture is left for later (`Later`): frames of a batch
then go through the nets together, which is quicker. Bytes, losses and randomness are those of the pipeline
(tests/integration/test_*_study.py compare the two).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from tqdm import tqdm

from gocom.common.codec_interfaces import SemanticEncoder
from gocom.common.errors import DecodeFailed
from gocom.common.image_files import ImageArray, read_samples
from gocom.common.pipeline import PipelineResult, sampler_generator
from gocom.common.rounds import merge_rounds
from gocom.common.types import FrameHeader, ReceivedMessage, Reconstruction
from gocom.evaluation.measure.judge import Judge, Original, imagenet_class
from gocom.evaluation.run.codec_setup import Codec, make_codec, pictures

BATCH = 8
"""Pictures that are decoded together."""
Row = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One picture of a set; `index` is its place in the set's source, and its frame index."""

    set: str
    name: str
    index: int
    original: Original

    @property
    def image(self) -> ImageArray:
        """float32 [3, H, W] in [0, 1]."""
        return self.original.image


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A frame that was sent and is to be decoded and judged.

    Attributes:
        keys: what says which case this is; they begin the row.
        sent: by `World.send`; its picture does not matter.
        seed: of the sampler.
    """

    picture: Picture
    keys: Row
    sent: PipelineResult
    seed: int

    @property
    def frame(self) -> FrameHeader:
        """Of the first round."""
        return self.sent.rounds[0].frame


class Later:
    """A decoder that leaves pictures for later; `first` is given out as that of the first round, if there is one."""

    def __init__(self, first: Reconstruction | None = None) -> None:
        self._first = first

    def reconstruct(
        self, rounds: Sequence[ReceivedMessage], *, generator: torch.Generator, previews: bool = False
    ) -> Iterator[Reconstruction]:
        """The first round's picture, or DecodeFailed."""
        if self._first is None or len(rounds) > 1:
            raise DecodeFailed("left for later")
        yield self._first


class BatchDecoder(Protocol):
    """A decoder that makes several pictures together."""

    def reconstruct_batch(
        self, frames: Sequence[Sequence[ReceivedMessage]], *, generators: Sequence[torch.Generator]
    ) -> list[Reconstruction]:
        """The picture of each frame."""


class World:
    """Nets, pictures and settings of one run. A codec's own names the codec, and what of its header it need not see.

    Attributes:
        codec: as registered.
        main_segment: whose elements `missing` counts.
        unseen: names of header fields that the decoder does not look at.
        real: both ends; `encoder`, `decoder`: those that are used.

    Args:
        sources: folder or tar by set: images, labelled, street.
        device: of all nets.
        limit: at most so many pictures of a set; None: as many as a part wants.
    """

    codec: ClassVar[str]
    main_segment: ClassVar[int] = 0
    unseen: ClassVar[frozenset[str]] = frozenset()
    encoder: SemanticEncoder[Any]
    decoder: BatchDecoder

    def __init__(self, sources: dict[str, Path], device: str = "auto", limit: int | None = None) -> None:
        self.sources, self.device, self.limit = sources, device, limit
        self.real, self.judge = make_codec(self.codec, device), Judge(device)
        self._sets: dict[tuple[str, int], list[Picture]] = {}

    def pictures(self, name: str, count: int) -> list[Picture]:
        """`count` pictures of a set, spread evenly over its source; all where it has fewer."""
        count = count if self.limit is None else min(count, self.limit)
        if (name, count) not in self._sets:
            source = self.sources[name]
            labels = [sample.label for sample in read_samples(source)]
            chosen = set(spread(len(labels), count))
            self._sets[name, count] = [
                Picture(name, key, i, self.judge.original(image, imagenet_class(labels[i])))
                for i, (key, image) in enumerate(pictures(source))
                if i in chosen
            ]
        return self._sets[name, count]

    def each(self, items: Iterable[T], what: str) -> Iterable[T]:
        """The items, with a progress bar."""
        shown: Iterable[T] = tqdm(list(items), desc=what, unit="img", leave=False)
        return shown

    def send(
        self, picture: Picture, channel: str, *, seed: int, first: Reconstruction | None = None, **settings: Any
    ) -> PipelineResult:
        """What `Codec.send` gives, its last picture left out; `first`: that of the first of several rounds."""
        codec = Codec(self.codec, self.encoder, Later(first))
        return codec.send(picture.image, channel, seed=seed, frame_index=picture.index, **settings)

    def job(self, picture: Picture, keys: Row, channel: str, *, seed: int = 0, **settings: Any) -> Job:
        """Send a picture; `settings` as in `send`."""
        return Job(picture, keys, self.send(picture, channel, seed=seed, **settings), seed)

    def decode(self, jobs: Sequence[Job]) -> list[Reconstruction]:
        """The picture of each job, BATCH at a time."""
        order = sorted(range(len(jobs)), key=lambda i: _steps(jobs[i]))
        made: dict[int, Reconstruction] = {}
        for part in chunks(order, BATCH):
            rounds, generators = zip(*[(jobs[i].sent.rounds, self.generator(jobs[i])) for i in part], strict=True)
            made |= zip(part, self.decoder.reconstruct_batch(rounds, generators=generators), strict=True)
        return [made[i] for i in range(len(jobs))]

    def generator(self, job: Job) -> torch.Generator:
        """The receiver's randomness."""
        return sampler_generator(job.seed, job.picture.index, job.sent.rounds[-1].frame.round)

    def rows(self, jobs: Sequence[Job]) -> list[Row]:
        """Decode and judge: for each job its keys, all bytes, the share of elements that never came, and scores.

        Jobs of which the same arrived (at low loss most) are decoded once.
        """
        arrived = [self._arrived(job) for job in jobs]
        distinct = list({key: job for key, job in zip(arrived, jobs, strict=True)}.values())
        scores = dict(zip(dict.fromkeys(arrived), self.scores(distinct, self.decode(distinct)), strict=True))
        return self.judged(jobs, [scores[key] for key in arrived])

    def scores(self, jobs: Sequence[Job], made: Sequence[Reconstruction]) -> list[Row]:
        """Of jobs that were decoded."""
        return self.judge.scores([job.picture.original for job in jobs], [picture.image for picture in made])

    def judged(self, jobs: Sequence[Job], scores: Sequence[Row]) -> list[Row]:
        """Rows of jobs that were decoded and judged."""
        return [
            {"set": job.picture.set, "picture": job.picture.name, "seed": job.seed} | job.keys
            | {"bytes": job.sent.bytes.total_bytes, "missing": self.missing_share(job.sent)} | score
            for job, score in zip(jobs, scores, strict=True)
        ]  # fmt: skip

    def missing_share(self, sent: PipelineResult) -> float:
        """Share of the main segment's elements that the receiver had to make up, withheld ones included."""
        return float(1 - merge_rounds(sent.rounds)[self.main_segment].received.mean())

    def _arrived(self, job: Job) -> tuple[object, ...]:
        """The same for two jobs: the decoder sees the same and makes the same picture."""
        header = job.frame.header.model_dump_json(exclude=set(self.unseen))
        segments = merge_rounds(job.sent.rounds).items()
        parts = [(kind, (s.elements * s.received).tobytes(), s.received.tobytes()) for kind, s in segments]
        last_round = job.sent.rounds[-1].frame.round
        return job.picture.set, job.picture.index, job.seed, last_round, header, *parts


def spread(total: int, count: int) -> list[int]:
    """`count` of range(total), evenly apart; all where there are fewer."""
    return list(range(total)) if count >= total else [i * total // count for i in range(count)]


def chunks(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """In order, `size` at a time."""
    return [items[i : i + size] for i in range(0, len(items), size)]


def _steps(job: Job) -> int:
    """Of the sampler, where the header says; alike ones go together."""
    return getattr(job.frame.header, "num_inference_steps", None) or 0
