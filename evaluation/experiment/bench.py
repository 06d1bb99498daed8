"""Where experiments run: pictures by set, both ends of a codec, the judge; sends whose pictures are made in batches.

A send is the pipeline's own (`Codec.send`), except that the last picture is left for later (`Later`): frames of a batch
then go through the nets together, and frames of which the same arrived go through them once. Bytes, losses and
randomness are those of the pipeline (tests/integration/test_bench.py compares the two, and the wire).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import torch

from gocom.common.codec_interfaces import EncoderSession, GenerativeDecoder
from gocom.common.errors import DecodeFailed
from gocom.common.image_files import ImageArray, to_float
from gocom.common.pipeline import PipelineResult, sampler_generator
from gocom.common.rounds import merge_rounds
from gocom.common.systems import SYSTEMS, spec_of
from gocom.common.types import Goal, ReceivedMessage, Reconstruction
from gocom.common.wire.frame_messages import make_parameters
from gocom.evaluation.experiment.experiment import Settings, Study
from gocom.evaluation.experiment.pictures import PictureSets
from gocom.evaluation.measure.judge import Judge, Original, grey_like, imagenet_class
from gocom.evaluation.run.codec_setup import Codec, RememberingEncoder, make_codec
from gocom.evaluation.run.work import Row

BATCH = 8
"""Frames that are decoded together."""
_KEEP = 8
"""Pictures whose analyses are kept, and first rounds whose pictures are."""
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
        keys: what says which case this is, and the channel's seed; they begin the row.
        sent: by `Bench.send`; its picture does not matter.
        seed: of the sampler.
        codec: that it was sent with.
    """

    picture: Picture
    keys: Row
    sent: PipelineResult
    seed: int
    codec: str


class Later:
    """A decoder that leaves the picture of the last round for later, and makes those of earlier rounds once.

    Args:
        decoder: the real one.
        rounds: that a frame may have.
        known: pictures of earlier rounds, by what had arrived.
        key: of rounds that arrived.
    """

    def __init__(self, decoder: GenerativeDecoder, rounds: int, known: dict[object, Reconstruction], key: Any) -> None:
        self._decoder, self._rounds, self._known, self._key = decoder, rounds, known, key

    def reconstruct(
        self, rounds: Sequence[ReceivedMessage], *, generator: torch.Generator, previews: bool = False
    ) -> Iterator[Reconstruction]:
        """The picture of an earlier round, or DecodeFailed."""
        if len(rounds) >= self._rounds:
            raise DecodeFailed("left for later")
        key = self._key(rounds)
        if key not in self._known:
            while len(self._known) >= _KEEP:
                del self._known[next(iter(self._known))]
            *_, self._known[key] = self._decoder.reconstruct(rounds, generator=generator)
        yield self._known[key]


@dataclass(slots=True)
class _Ends:
    real: Codec
    encoder: RememberingEncoder[Any]
    first_pictures: dict[object, Reconstruction] = field(default_factory=dict)


class Bench:
    """Nets and pictures of one process.

    Args:
        study: whose experiments run.
        pictures: the sets.
        device: of all nets.
    """

    def __init__(self, study: Study, pictures: PictureSets, device: str = "auto") -> None:
        self.study, self.pictures, self.device = study, pictures, device
        self._ends: dict[str, _Ends] = {}
        self._known: dict[tuple[str, int], Picture] = {}

    @cached_property
    def judge(self) -> Judge:
        """What pictures are judged by."""
        return Judge(self.device)

    def codec(self, name: str | None = None) -> Codec:
        """Both ends of the study's codec or another, the encoder with a memory for what it finds in pictures."""
        ends = self._of(name or self.study.system)
        return Codec(ends.real.name, ends.encoder, ends.real.decoder)

    def real(self, name: str | None = None) -> Codec:
        """The same without a memory, for measurements of time."""
        return self._of(name or self.study.system).real

    def _of(self, name: str) -> _Ends:
        if name not in self._ends:
            codec = make_codec(name, self.device)
            self._ends[name] = _Ends(codec, RememberingEncoder(codec.encoder, keep=_KEEP))
        return self._ends[name]

    def picture(self, name: str, index: int) -> Picture:
        """The picture at a place of a set."""
        key = name, index
        if key not in self._known:
            while len(self._known) >= _KEEP:
                del self._known[next(iter(self._known))]
            cut = self.pictures.cut(name, index)
            original = self.judge.original(to_float(cut.pixels), imagenet_class(cut.label))
            self._known[key] = Picture(name, cut.name, index, original)
        return self._known[key]

    def opposite(self, picture: Picture) -> Picture:
        """One of another class, where a set is sorted by class: half-way round the set."""
        return self.picture(picture.set, self.pictures.opposite(picture.set, picture.index))

    def session(self, picture: Picture, codec: str | None = None, **options: Any) -> EncoderSession:
        """The picture at the transmitter, with options of the codec."""
        name = codec or self.study.system
        goal = Goal(make_parameters(SYSTEMS.get(name).options, options), picture.index)
        encoder = self._of(name).encoder
        return encoder.open(encoder.analyse(picture.image), goal)

    def send(self, picture: Picture, channel: str = "clean", *, seed: int = 0, **settings: Any) -> PipelineResult:
        """What `Codec.send` gives, its last picture left out. `codec`: another than the study's."""
        name = settings.pop("codec", self.study.system)
        ends, sampler_seed = self._of(name), _sampler_seed(settings, seed)
        decoder = Later(
            ends.real.decoder, settings.get("max_rounds", 1), ends.first_pictures,
            lambda rounds: self._arrived(picture, sampler_seed, rounds),
        )  # fmt: skip
        codec = Codec(name, ends.encoder, decoder)
        return codec.send(picture.image, channel, seed=seed, frame_index=picture.index, **settings)

    def job(self, picture: Picture, keys: Row, channel: str = "clean", *, seed: int = 0, **settings: Any) -> Job:
        """Send a picture; `settings` as in `send`."""
        codec = settings.get("codec", self.study.system)
        sent = self.send(picture, channel, seed=seed, **settings)
        return Job(picture, {"seed": seed} | keys, sent, _sampler_seed(settings, seed), codec)

    def decode(self, jobs: Sequence[Job]) -> list[ImageArray | None]:
        """The picture of each job, float32 [3, H, W]; None: the decoder makes none."""
        made: dict[int, ImageArray | None] = {}
        order = sorted(range(len(jobs)), key=lambda i: (jobs[i].codec, _steps(jobs[i])))
        for part in chunks(order, BATCH):
            made |= zip(part, self._decode_together([jobs[i] for i in part]), strict=True)
        return [made[i] for i in range(len(jobs))]

    def images(self, jobs: Sequence[Job]) -> list[ImageArray]:
        """As `decode`; a picture that the decoder does not make is grey."""
        return [_shown(job, image) for job, image in zip(jobs, self.decode(jobs), strict=True)]

    def _decode_together(self, jobs: Sequence[Job]) -> list[ImageArray | None]:
        decoders = [self._of(job.codec).real.decoder for job in jobs]
        together = getattr(decoders[0], "reconstruct_batch", None)
        if together is None or len({job.codec for job in jobs}) > 1:
            return [self._decode_alone(job, decoder) for job, decoder in zip(jobs, decoders, strict=True)]
        rounds = [job.sent.rounds for job in jobs]
        return [made.image for made in together(rounds, generators=[generator(job) for job in jobs])]

    def _decode_alone(self, job: Job, decoder: GenerativeDecoder) -> ImageArray | None:
        try:
            *_, made = decoder.reconstruct(job.sent.rounds, generator=generator(job))
        except DecodeFailed:
            return None
        return made.image

    def rows(self, jobs: Sequence[Job]) -> list[Row]:
        """Decode and judge: for each job its keys, all bytes, the share of elements that never came, and scores.

        A frame of which the decoder makes no picture has failed, and is scored as a grey one.
        """
        arrived = [(job.codec, *self._arrived(job.picture, job.seed, job.sent.rounds)) for job in jobs]
        distinct = list({key: job for key, job in zip(arrived, jobs, strict=True)}.values())
        images = self.decode(distinct)
        shown = [_shown(job, image) for job, image in zip(distinct, images, strict=True)]
        found = zip(images, self.scores([job.picture for job in distinct], shown), strict=True)
        scores = dict(
            zip(dict.fromkeys(arrived), ({"failed": int(i is None)} | score for i, score in found), strict=True)
        )
        return self.judged(jobs, [scores[key] for key in arrived])

    def scores(self, pictures: Sequence[Picture], images: Sequence[ImageArray]) -> list[Row]:
        """What the judge says of images float32 [3, H, W] beside the pictures they are to show."""
        return self.judge.scores([picture.original for picture in pictures], images)

    def judged(self, jobs: Sequence[Job], scores: Sequence[Row]) -> list[Row]:
        """Rows of jobs that were decoded and judged."""
        return [
            {"seed": job.seed} | job.keys
            | {"bytes": job.sent.bytes.total_bytes, "feedback_bytes": job.sent.bytes.feedback_bytes}
            | {"packets": job.sent.rounds[0].packets_sent, "missing": self.missing_share(job)} | score
            for job, score in zip(jobs, scores, strict=True)
        ]  # fmt: skip

    def missing_share(self, job: Job) -> float:
        """Share of the elements that the receiver had to make up, withheld ones included."""
        if self.study.missing is not None and job.codec == self.study.system:
            return self.study.missing(job.sent)
        header = job.sent.rounds[0].frame
        merged = [
            s for kind, s in merge_rounds(job.sent.rounds).items() if spec_of(header.codec, kind).name != "caption"
        ]
        count = sum(len(segment.received) for segment in merged)
        return 1 - sum(int(segment.received.sum()) for segment in merged) / count if count else 1.0

    def _arrived(self, picture: Picture, seed: int, rounds: Sequence[ReceivedMessage]) -> tuple[object, ...]:
        """The same for two frames: the decoder sees the same and makes the same picture."""
        frame = rounds[0].frame
        unseen = set(self.study.unseen) if frame.codec == self.study.system else set()
        header = frame.header.model_dump_json(exclude=unseen)
        segments = merge_rounds(rounds).items()
        parts = [(kind, (s.elements * s.received).tobytes(), s.received.tobytes()) for kind, s in segments]
        return picture.set, picture.index, seed, rounds[-1].frame.round, header, *parts


def _shown(job: Job, image: ImageArray | None) -> ImageArray:
    return grey_like(job.picture.image) if image is None else image


def generator(job: Job) -> torch.Generator:
    """The receiver's randomness for a job's picture."""
    return sampler_generator(job.seed, job.picture.index, job.sent.rounds[-1].frame.round)


def _sampler_seed(settings: Settings, seed: int) -> int:
    """The channel's, unless it has one of its own."""
    own = settings.get("sampler_seed")
    return seed if own is None else int(own)


def chunks(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """In order, `size` at a time."""
    return [items[i : i + size] for i in range(0, len(items), size)]


def _steps(job: Job) -> int:
    """Of the sampler, where the header says; alike ones go together."""
    return getattr(job.sent.rounds[0].frame.header, "num_inference_steps", None) or 0
