"""What became of every frame of a stream that met a fault, as a row of the table."""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from itertools import pairwise

HEADS = (
    "fault", "service", "codec", "frames", "delivered", "failed with reason", "duplicates", "silent losses",
    "fault s", "recovered after s", "longest gap s",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One fault on one service.

    Attributes:
        frames: pictures that the client took; each is delivered, failed or silent.
        failed: failed with a reason, counted by it.
        duplicates: results beyond the first of a frame.
        silent: frames without a result.
        fault_s: from the fault's beginning to its end, as tests/e2e/faults.py defines it.
        recovery_s: from that end to the next picture delivered; None: none was.
        gap_s: longest time between two results.
        worst_psnr_db: of the pictures delivered; low where frames were mixed up.
        error: what the stream ended with, if it did not end well.
    """

    fault: str
    service: str
    codec: str
    frames: int
    delivered: int
    failed: dict[str, int]
    duplicates: int
    silent: int
    fault_s: float
    recovery_s: float | None
    gap_s: float
    worst_psnr_db: float | None
    error: str | None

    def cells(self):
        """Texts under HEADS."""
        failed = "; ".join(f"{count} × {reason}" for reason, count in self.failed.items()) or "0"
        recovery = "never" if self.recovery_s is None else f"{self.recovery_s:.1f}"
        return (
            self.fault, self.service, self.codec, str(self.frames), str(self.delivered), failed, str(self.duplicates),
            str(self.silent), f"{self.fault_s:.1f}", recovery, f"{self.gap_s:.1f}",
        )  # fmt: skip


def account(events, fault, service, codec, began, ended):
    """The row of a stream, from what streamer.py said; began, ended: of the fault, seconds since 1970."""
    handed = {event["index"] for event in events if event["event"] == "handed"}
    results = [event for event in events if event["event"] == "result"]
    counts = Counter(result["index"] for result in results)
    pictures = [result for result in results if result["outcome"] == "reconstructed"]
    after = [result["at"] for result in pictures if result["at"] >= ended]
    times = [result["at"] for result in results]
    errors = [event["error"] for event in events if event["event"] == "error"]
    return Row(
        fault, service, codec, len(handed),
        delivered=len({result["index"] for result in pictures}),
        failed=dict(Counter(result["reason"] for result in results if result["outcome"] == "failed")),
        duplicates=sum(count - 1 for count in counts.values()),
        silent=len(handed - set(counts)),
        fault_s=round(ended - began, 2),
        recovery_s=round(min(after) - ended, 2) if after else None,
        gap_s=round(max((b - a for a, b in pairwise(times)), default=0.0), 2),
        worst_psnr_db=min((round(result["psnr_db"], 1) for result in pictures), default=None),
        error=errors[0] if errors else None,
    )  # fmt: skip


def as_markdown(rows):
    lines = ["| " + " | ".join(HEADS) + " |", "|" + "-|" * len(HEADS)]
    return "\n".join([*lines, *("| " + " | ".join(row.cells()) + " |" for row in rows)]) + "\n"


def write_table(folder, rows):
    """faults.json and faults.md."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "faults.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    (folder / "faults.md").write_text(as_markdown(rows))
