"""The words an experiment is written in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from gocom.common.errors import InvalidInput
from gocom.common.pipeline import PipelineResult
from gocom.evaluation.measure.metrics import METRIC
from gocom.evaluation.run.work import Row

Settings = Mapping[str, Any]
"""Keyword arguments of `Codec.send`: the codec's options, and channel, link, budget, csi, delivery, max_rounds ..."""
ALL = ("psnr_db", "ms_ssim", "distance", "correct")
CLOSENESS = ("psnr_db", "ms_ssim", "distance")
"""Fields of sets without labels."""
_PLACE = ("set", "picture", "seed")
TAKEN = frozenset({*_PLACE, "bytes", "feedback_bytes", "packets", "missing", *METRIC})
"""What every row of a send has."""


Level = Settings | Callable[[Any], Settings]
"""What a level sets, or a function of `cases.Asked` that says so for a picture."""
Measure = Callable[[Any, Any], Iterable[Row]]
"""(bench, picture) -> rows."""
Probe = Callable[[Any, Sequence[Any]], Iterable[Row]]
"""(bench, its jobs) -> rows."""


@dataclass(frozen=True, slots=True)
class Factor:
    """Something that varies.

    Attributes:
        name: key of the rows.
        levels: value of the key -> what it sets, or a function that says so for a picture.
    """

    name: str
    levels: Mapping[Any, Level]


def option(name: str, values: Iterable[Any]) -> Factor:
    """A factor that is one option of the codec."""
    return Factor(name, {value: {name: value} for value in values})


def erasure(rates: Iterable[float], name: str = "rate") -> Factor:
    """A factor of independent packet losses; 0 is a clean channel."""
    return Factor(name, {r: {"channel": f"packet_erasure:rate={r}" if r else "clean"} for r in rates})


def fading(snrs_db: Iterable[float], name: str = "snr_db") -> Factor:
    """A factor of mean SNRs of block fading: BPSK without a code, four packets share a gain."""
    return Factor(name, {snr_db: {"channel": f"block_fading:snr_db={snr_db},coherence=4"} for snr_db in snrs_db})


@dataclass(frozen=True, slots=True)
class Means:
    """A table of means with their intervals.

    Attributes:
        by: keys, a line for each combination of their values that has rows.
        fields: of the rows, a column each.
        where: only rows that have these values; a collection stands for any of its values.
        across: a further key; each of its values has columns of its own. None: there is none.
    """

    by: tuple[str, ...]
    fields: tuple[str, ...] = CLOSENESS
    where: Settings = field(default_factory=dict)
    title: str = ""
    across: str | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """What is compared with what: rows that have the one's values, and rows that have the other's.

    Attributes:
        label: "EBM against PRM".
        other: its values stand even where `Against.by` says otherwise.
    """

    label: str
    one: Settings
    other: Settings


@dataclass(frozen=True, slots=True)
class Against:
    """A table of paired differences, one minus the other, with verdicts; and the sentence that says them.

    Holm's correction is over all lines of a metric.

    Attributes:
        pairs: what is compared.
        by: keys, a line for each combination of their values.
        fields: of the rows, a column each.
        where: only rows that have these values; a collection stands for any of its values.
    """

    pairs: tuple[Pair, ...]
    by: tuple[str, ...] = ()
    fields: tuple[str, ...] = CLOSENESS
    where: Settings = field(default_factory=dict)
    title: str = ""


def ours(key: str, value: Any, others: Iterable[Any], say: str = "{} against {}") -> tuple[Pair, ...]:
    """Pairs of one value of a key with each of the others; the value among the others is passed over."""
    return tuple(Pair(say.format(value, v), {key: value}, {key: v}) for v in others if v != value)


def each(key: str, values: Iterable[Any], other: Any, say: str = "{} against {}") -> tuple[Pair, ...]:
    """Pairs of each value of a key with one other; that one among the values is passed over."""
    return tuple(Pair(say.format(v, other), {key: v}, {key: other}) for v in values if v != other)


@dataclass(frozen=True, slots=True)
class Curves:
    """A figure, <experiment>_<name>.png: a panel for each field and each value of `columns`.

    Attributes:
        x: key of the points, or a field: then a point lies at its mean.
        lines: keys, a line for each combination of their values.
        fields: of the rows, a row of panels each.
        columns: key; None: one column, or where there are no columns the fields stand side by side.
        points: keys that tell the points of a line apart, where `x` is a field.
        level: rows whose mean is drawn as a horizontal line, with its label; its values stand even where `where` or a
            column says otherwise.
    """

    name: str
    x: str
    lines: tuple[str, ...]
    fields: tuple[str, ...] = ("distance", "psnr_db")
    columns: str | None = None
    points: tuple[str, ...] = ()
    where: Settings = field(default_factory=dict)
    level: tuple[Settings, str] | None = None
    log_x: bool = False
    title: str = ""


View = Means | Against | Curves


def _keys(views: Iterable[View]) -> set[str]:
    """All keys of rows that views tell rows apart by."""
    found = set[str]()
    for view in views:
        found |= set(view.where)
        if isinstance(view, Curves):
            found |= {*view.lines, *view.points, *([view.columns] if view.columns else ())}
            found |= set(view.level[0]) if view.level else set()
            found |= set() if view.points else {view.x}
        else:
            found |= set(view.by)
        if isinstance(view, Against):
            found |= {key for pair in view.pairs for key in (*pair.one, *pair.other)}
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """Sends that differ in factors, or a measure of its own; and how they are shown.

    Attributes:
        name: of its files and in claims; words with underscores.
        title: its heading.
        sets: set of pictures -> most pictures of it, spread evenly over the source.
        factors: every combination of their levels is sent; none: a single case.
        settings: of all cases.
        seeds: of the channel, 0 and on; a channel without chance gets one.
        only: keys of a case -> whether it is sent; None: all are.
        subject: what is sent of a picture; None: the picture.
        probe: rows of all sends of a picture; None: each is decoded and judged, as `Bench.rows` does.
        measure: rows of a picture, instead of sends; they need no keys `set` and `picture`.
        note: what was done, in words, before its tables.
        views: tables and figures.
        findings: rows -> further sentences, made from the numbers.
    """

    name: str
    title: str
    sets: Mapping[str, int]
    factors: tuple[Factor, ...] = ()
    settings: Settings = field(default_factory=dict)
    seeds: int = 1
    only: Callable[[Row], bool] | None = None
    subject: Callable[[Any, Any], Any] | None = None
    probe: Probe | None = None
    measure: Measure | None = None
    note: str = ""
    views: tuple[View, ...] = ()
    findings: Callable[[Sequence[Row]], Sequence[str]] | None = None

    def __post_init__(self) -> None:
        """Raise InvalidInput where the data contradict each other."""
        if not self.name.isidentifier():
            raise InvalidInput(f"experiment: name {self.name!r} must be letters, digits and underscores")
        for fault in self._faults():
            raise InvalidInput(f"experiment {self.name}: {fault}")

    def _faults(self) -> Iterator[str]:
        names = [factor.name for factor in self.factors]
        if self.measure and (self.factors or self.settings or self.only or self.subject or self.probe):
            yield "measure: it knows nothing of factors, settings, only, subject and probe"
        if self.seeds < 1:
            yield f"seeds: {self.seeds}; there must be one or more"
        if not self.sets or min(self.sets.values()) < 1:
            yield "sets: there must be one or more, and one or more pictures of each"
        if len(set(names)) < len(names):
            yield "factors: two have one name"
        if taken := [name for name in names if name in TAKEN]:
            yield f"factors: {taken[0]!r} is a field of every row; choose another name"
        if empty := [factor.name for factor in self.factors if not factor.levels]:
            yield f"factors: {empty[0]} has no levels"
        curves = [view.name for view in self.views if isinstance(view, Curves)]
        if len(set(curves)) < len(curves):
            yield "views: two curves have one name, and so one file"
        if not (self.measure or self.probe) and (unknown := sorted(_keys(self.views) - {*names, *TAKEN})):
            yield f"views: no key {unknown[0]!r}; there are {', '.join([*_PLACE, *names])}"


class Status(str, Enum):
    """How much of a claim can be had here."""

    HERE = "here"
    IN_PART = "in part"
    NOT_HERE = "cannot be had here"


@dataclass(frozen=True, slots=True)
class Numbers:
    """A table of the paper's."""

    head: Sequence[str]
    lines: Sequence[Sequence[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One or more figures, tables or sentences of a paper that ask the same.

    Attributes:
        names: as the paper numbers them: "Fig. 8", "Table IV".
        shows: what they show.
        said: the paper's words or numbers; what it does not give in numbers is said to be so.
        differs: what is not as in the paper, besides what differs everywhere; or why it cannot be had.
        experiments: names of those that answer it.
        numbers: the paper's.
    """

    names: str
    shows: str
    said: str
    differs: str = ""
    status: Status = Status.HERE
    experiments: tuple[str, ...] = ()
    numbers: Numbers | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """All experiments of a system, and the claims that they answer.

    Attributes:
        system: codec, as registered.
        title: of its page.
        lead: paragraphs below the title.
        sets: name of each set of pictures that it needs -> what it holds, for messages.
        experiments: in the page's order.
        claims: in the paper's order; none: the page has the experiments only.
        differences: (what, paper, here): of every claim.
        sampler: the sampler's defaults, a dataclass; they are part of what a row depends on. None: it has none.
        peers: other codecs whose nets the experiments use.
        unseen: fields of the codec's header that its decoder does not look at.
        missing: what was sent -> share of its elements, 0 to 1, that never came; None: of all segments but text.
    """

    system: str
    title: str
    lead: Sequence[str] = ()
    sets: Mapping[str, str]
    experiments: tuple[Experiment, ...]
    claims: tuple[Claim, ...] = ()
    differences: Sequence[tuple[str, str, str]] = ()
    sampler: Any = None
    peers: tuple[str, ...] = ()
    unseen: Collection[str] = ()
    missing: Callable[[PipelineResult], float] | None = None

    def __post_init__(self) -> None:
        """Raise InvalidInput where a claim names no experiment of the study, or an experiment no set."""
        names = [experiment.name for experiment in self.experiments]
        if len(set(names)) < len(names):
            raise InvalidInput(f"study {self.system}: two experiments have one name")
        for claim in self.claims:
            if lacking := [name for name in claim.experiments if name not in names]:
                raise InvalidInput(f"study {self.system}: {claim.names} names no experiment {lacking[0]!r}")
        for experiment in self.experiments:
            if lacking := [name for name in experiment.sets if name not in self.sets]:
                raise InvalidInput(f"study {self.system}: {experiment.name} wants pictures of no set {lacking[0]!r}")
