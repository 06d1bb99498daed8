"""What every part works with: pictures by set, both ends of lami_go, the judge, and sends that are decoded in batches.

A send is the pipeline's own (`Codec.send`), except that the picture is left for later (`Later`): frames of a batch
then go through the denoiser together, which is quicker. Bytes, losses and randomness are those of the pipeline
(tests/integration/test_lami_go_study.py compares the two).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from tqdm import tqdm

from common.errors import DecodeFailed
from common.images import ImageArray, read_samples
from common.pipeline import PipelineResult, sampler_generator
from common.rounds import merge_rounds
from common.systems.lami_go import TOKENS, LamiGoHeader, LamiGoOptions
from common.types import Bools, Goal, Ints, ReceivedMessage, Reconstruction
from common.wire import make_parameters
from evaluation.judge import Judge, Original, imagenet_class
from evaluation.lami_go.counts import BATCH
from evaluation.setup import Codec, make_codec, pictures
from receiver.decoders.lami_go import LamiGoDecoder
from transmitter.encoders.lami_go import LamiGoEncoder, LamiGoSession, cut_caption

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


class RememberingEncoder:
    """lami_go's encoder; what its nets say of a picture is kept, so that a study asks them once."""

    def __init__(self, encoder: LamiGoEncoder) -> None:
        self._encoder = encoder
        self._known: dict[bytes, LamiGoSession] = {}

    def open(self, image: ImageArray, goal: Goal) -> LamiGoSession:
        """As LamiGoEncoder's."""
        options = goal.options
        assert isinstance(options, LamiGoOptions)
        key = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
        if key not in self._known:
            self._known[key] = self._encoder.open(image, Goal(LamiGoOptions()))
        known = self._known[key]
        caption = known.caption if options.caption is None else cut_caption(options.caption)
        return LamiGoSession(image, known.tokens, known.distance, caption if options.send_caption else b"", goal)


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


@dataclass
class World:
    """Nets, pictures and settings of one run.

    Attributes:
        sources: folder or tar by set: images, labelled, street.
        device: of all nets.
        limit: at most so many pictures of a set; None: as COUNTS says.
    """

    sources: dict[str, Path]
    device: str = "auto"
    limit: int | None = None
    _sets: dict[tuple[str, int], list[Picture]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        codec = make_codec("lami_go", self.device)
        assert isinstance(codec.encoder, LamiGoEncoder) and isinstance(codec.decoder, LamiGoDecoder)
        self.real, self.encoder, self.decoder = codec, RememberingEncoder(codec.encoder), codec.decoder
        self.judge = Judge(self.device)

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
        return tqdm(list(items), desc=what, unit="img", leave=False)

    def session(self, picture: Picture, **options: Any) -> LamiGoSession:
        """The picture at the transmitter, with options of lami_go."""
        values = make_parameters(LamiGoOptions, options)
        return self.encoder.open(picture.image, Goal(values, picture.index))

    def send(
        self, picture: Picture, channel: str, *, seed: int, first: Reconstruction | None = None, **settings: Any
    ) -> PipelineResult:
        """What `Codec.send` gives, its last picture left out; `first`: that of the first of several rounds."""
        codec = Codec("lami_go", self.encoder, Later(first))
        return codec.send(picture.image, channel, seed=seed, frame_index=picture.index, **settings)

    def job(self, picture: Picture, keys: Row, channel: str, *, seed: int = 0, **settings: Any) -> Job:
        """Send a picture; `settings` as in `send`."""
        return Job(picture, keys, self.send(picture, channel, seed=seed, **settings), seed)

    def decode(self, jobs: Sequence[Job]) -> list[Reconstruction]:
        """The picture of each job, BATCH at a time."""
        order = sorted(range(len(jobs)), key=lambda i: _steps(jobs[i]))
        made: dict[int, Reconstruction] = {}
        for part in chunks(order, BATCH):
            rounds = [jobs[i].sent.rounds for i in part]
            generators = [
                sampler_generator(jobs[i].seed, jobs[i].picture.index, rounds_[-1].frame.round)
                for i, rounds_ in zip(part, rounds, strict=True)
            ]
            made |= zip(part, self.decoder.reconstruct_batch(rounds, generators=generators), strict=True)
        return [made[i] for i in range(len(jobs))]

    def rows(self, jobs: Sequence[Job]) -> list[Row]:
        """Decode and judge: for each job its keys, all bytes, the share of tokens that never came, and scores.

        Jobs of which the same arrived (at low loss most) are decoded once.
        """
        arrived = [what_arrived(job) for job in jobs]
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
            | {"bytes": job.sent.bytes.total_bytes, "missing": missing_share(job.sent)} | score
            for job, score in zip(jobs, scores, strict=True)
        ]  # fmt: skip

    @torch.inference_mode()
    def images_of(self, tokens: Ints) -> list[ImageArray]:
        """Tokens int64 [B, h, w] -> pictures float32 [3, 8h, 8w]."""
        images = self.decoder.tokenizer.decode(torch.from_numpy(tokens).to(self.decoder.device))
        return list(images.cpu().numpy())

    def tokens_of(self, pictures_: Sequence[Picture]) -> Ints:
        """int64 [B, h, w] of B pictures of one size."""
        shape = [side // 8 for side in pictures_[0].image.shape[1:]]
        return np.stack([self.session(picture).tokens.reshape(shape) for picture in pictures_])

    def captions_of(self, pictures_: Sequence[Picture]) -> list[str]:
        """What the captioner says of B pictures."""
        return [self.session(picture).caption.decode() for picture in pictures_]


def spread(total: int, count: int) -> list[int]:
    """`count` of range(total), evenly apart; all where there are fewer."""
    return list(range(total)) if count >= total else [i * total // count for i in range(count)]


def chunks(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """In order, `size` at a time."""
    return [items[i : i + size] for i in range(0, len(items), size)]


def missing_share(sent: PipelineResult) -> float:
    """Share of the tokens that the receiver had to make up, withheld ones included."""
    received: Bools = merge_rounds(sent.rounds)[TOKENS].received
    return float(1 - received.mean())


def what_arrived(job: Job) -> tuple[object, ...]:
    """The same for two jobs: the decoder sees the same and makes the same picture."""
    header = job.sent.rounds[0].frame.header.model_dump_json(
        exclude={"masking", "mask_ratio_permille", "mask_seed", "mask_pattern"}
    )
    segments = merge_rounds(job.sent.rounds).items()
    parts = [(kind, (s.elements * s.received).tobytes(), s.received.tobytes()) for kind, s in segments]
    last_round = job.sent.rounds[-1].frame.round
    return job.picture.set, job.picture.index, job.seed, last_round, header, *parts


def _steps(job: Job) -> int:
    header = job.sent.rounds[0].frame.header
    assert isinstance(header, LamiGoHeader)
    return header.num_inference_steps or 0
