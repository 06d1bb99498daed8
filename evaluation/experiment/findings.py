"""Sentences made from rows, for an Experiment's `findings`: where more ceases to help, and what is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gocom.evaluation.experiment.experiment import Settings
from gocom.evaluation.experiment.rows import average, by_picture, difference, groups, metric_of, where
from gocom.evaluation.experiment.views import value_words
from gocom.evaluation.report.tables import words
from gocom.evaluation.run.work import Row


@dataclass(frozen=True, slots=True)
class Knee:
    """From which value of a key on the largest is hardly better.

    Attributes:
        key: whose values are numbers.
        by: keys, a sentence for each combination of their values.
        level: differences of `field`, of which less is better, do not matter below it.
    """

    key: str
    by: tuple[str, ...] = ()
    field: str = "distance"
    level: float = 0.005

    def of(self, rows: Sequence[Row]) -> Any | None:
        """The least value from which on the largest is less than `level` better, as far as the interval says."""
        values = sorted(value for (value,), _ in groups(rows, (self.key,)))
        most = where(rows, {self.key: values[-1]})
        found = [difference(where(rows, {self.key: value}), most, self.field) for value in values]
        hardly = [one is not None and one[0][2] < self.level for one in found]
        return next((value for i, value in enumerate(values) if all(hardly[i:])), None)

    def __call__(self, rows: Sequence[Row]) -> list[str]:
        """The knee, and where the mean is least."""
        return [_begin(values) + self._sentence(found) for values, found in groups(rows, self.by)]

    def _sentence(self, rows: Sequence[Row]) -> str:
        means = {value: average(found, self.field) for (value,), found in groups(rows, (self.key,))}
        best = min((mean[0], value) for value, mean in means.items() if mean is not None)[1]
        title = metric_of(self.field).title
        most, knee = max(means), self.of(rows)
        return (
            f"{most} {self.key} are less than {self.level:g} better in {title} than "
            f"{'no fewer' if knee in (None, most) else knee}; its mean is least at {best}."
        )


@dataclass(frozen=True, slots=True)
class Share:
    """Means of rows that have the one's values as a share of those with the other's in place: "1000 of 2000: 50 %"."""

    label: str
    one: Settings
    other: Settings
    fields: tuple[str, ...]
    by: tuple[str, ...] = ()

    def __call__(self, rows: Sequence[Row]) -> list[str]:
        """A sentence for each combination of the values of `by`."""
        return [
            f"{_begin([*values, self.label])}{'; '.join(self.of(found, field) for field in self.fields)}."
            for values, found in groups(rows, self.by)
        ]

    def of(self, rows: Sequence[Row], field: str) -> str:
        """One field's."""
        one, other = (average(where(rows, keys), field) for keys in (self.one, {**self.one, **self.other}))
        metric = metric_of(field)
        if one is None or other is None:
            return f"{metric.title} not measured"
        share = f": {one[0] / other[0]:.1%}" if other[0] else ""
        return f"{metric.title} {one[0]:.{metric.digits}f} of {other[0]:.{metric.digits}f}{share}"


@dataclass(frozen=True, slots=True)
class Half:
    """Up to which loss at least half is left of what there is without.

    Attributes:
        what: label of a sentence -> (values that rows have, field of which more is better).
        key: share that is lost.
    """

    what: Mapping[str, tuple[Settings, str]]
    key: str = "rate"

    def __call__(self, rows: Sequence[Row]) -> list[str]:
        """A sentence for each of `what` that was measured without loss."""
        said = []
        for label, (keys, name) in self.what.items():
            means = {value: average(found, name) for (value,), found in groups(where(rows, keys), (self.key,))}
            share = {value: mean[0] for value, mean in means.items() if mean is not None}
            if 0 in share:
                most = max(value for value in share if share[value] >= share[0] / 2)
                said.append(
                    f"{label} in {share[0]:.0f} % of the cases without loss, in half as many up to {most:.0%} lost."
                )
        return said


@dataclass(frozen=True, slots=True)
class PsnrCost:
    """What the rows with `other`'s values lose against those with `one`'s, at each value of the key `by`.

    Attributes:
        limit_db: frames that lose more are counted.
    """

    by: str
    one: Settings
    other: Settings
    limit_db: float

    def __call__(self, rows: Sequence[Row]) -> list[str]:
        """A sentence for each value."""
        said = []
        for (value,), found in groups(rows, (self.by,)):
            clean, lossy = where(found, self.one), where(found, self.other)
            cost, good, bad = difference(clean, lossy, "psnr_db"), *(by_picture(r, "psnr_db") for r in (clean, lossy))
            if cost is not None:
                worst = max(good[key] - bad[key] for key in bad)
                over = sum(good[row["set"], row["picture"]] - row["psnr_db"] > self.limit_db for row in lossy)
                said.append(
                    f"{value}: it costs {words(cost[0])} dB, of the worst picture {worst:.2f} dB; "
                    f"{over} of {len(lossy)} frames lose more than {self.limit_db:g} dB."
                )
        return said


def _begin(values: Sequence[Any]) -> str:
    return f"{', '.join(map(value_words, values))}: " if values else ""
