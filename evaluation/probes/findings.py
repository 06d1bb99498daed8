"""Sentences from rows that no table has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gocom.evaluation.experiment.experiment import Settings
from gocom.evaluation.experiment.rows import by_picture, difference, groups, where
from gocom.evaluation.report.tables import words
from gocom.evaluation.run.work import Row


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
