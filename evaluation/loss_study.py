"""What erasure costs: lami_go against its own clean picture, against neighbour filling, and against jpeg.

    python -m gocom.evaluation.loss_study --images PHOTOS --out docs/results/loss_study

For every picture and channel seed: lami_go over packet erasure, the same received tokens filled with the nearest
received neighbour instead of the denoiser, and jpeg at its best quality within lami_go's bytes (its floor where that
is higher, and marked), same payload size and losses, no FEC. Intervals: Student's 95 % over pictures of the mean
over seeds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from tqdm import tqdm

from gocom.client.command_process import run_command
from gocom.common.errors import BudgetTooSmall
from gocom.common.image_files import ImageArray
from gocom.common.image_quality import psnr_db
from gocom.evaluation.measure.fillers import nearest_received
from gocom.evaluation.measure.judge import Judge
from gocom.evaluation.measure.statistics import interval
from gocom.evaluation.run.codec_setup import make_codec, pictures
from gocom.receiver.decoders.lami_go import LamiGoDecoder


class Study:
    """One picture at a time, all methods."""

    def __init__(self, device: str) -> None:
        self.lami_go, self.jpeg = make_codec("lami_go", device), make_codec("jpeg", device)
        assert isinstance(self.lami_go.decoder, LamiGoDecoder)
        self.decoder = self.lami_go.decoder
        self.judge = Judge(device)

    def fill(self, rounds: list[Any], image: ImageArray) -> ImageArray:
        """The picture that neighbour filling makes of what arrived."""
        frame = self.decoder.arrived_frame(rounds, torch.Generator())
        tokens = torch.from_numpy(nearest_received(frame.latent.numpy(), frame.received.numpy()))[None]
        with torch.inference_mode():
            x_hat = self.decoder.tokenizer.decode(tokens.to(self.decoder.device))[0].cpu().numpy()
        cropped: ImageArray = x_hat[:, : image.shape[1], : image.shape[2]]
        return cropped

    def jpeg_row(self, image: ImageArray, channel: str, seed: int, index: int, budget: int) -> dict[str, Any]:
        """jpeg within `budget` bytes, or at its floor."""
        try:
            result = self.jpeg.send(image, channel, seed=seed, frame_index=index, budget=budget)
            floor = False
        except BudgetTooSmall:
            result, floor = self.jpeg.send(image, channel, seed=seed, frame_index=index, quality=0), True
        picture = result.reconstruction
        quality = None if picture is None else psnr_db(image, picture.image)
        return {"bytes": result.bytes.total_bytes, "psnr_db": quality, "failed": picture is None, "at_floor": floor}

    def row(self, image: ImageArray, channel: str, seed: int, index: int) -> dict[str, Any]:
        """One picture, one seed."""
        sent = self.lami_go.send(image, channel, seed=seed, frame_index=index)
        if sent.reconstruction is None:
            return {"seed": seed, "failed": True, "reason": sent.reason}
        filled = self.fill(sent.rounds, image)
        return {
            "seed": seed,
            "failed": False,
            "bytes": sent.bytes.total_bytes,
            "psnr_db": psnr_db(image, sent.reconstruction.image),
            "distance": self.judge.distance(image, sent.reconstruction.image),
            "filled_psnr_db": psnr_db(image, filled),
            "filled_distance": self.judge.distance(image, filled),
            "jpeg": self.jpeg_row(image, channel, seed, index, sent.bytes.total_bytes),
        }


def summarise(rows: list[dict[str, Any]], names: list[str]) -> dict[str, Any]:
    """Means over seeds, intervals over pictures, shares of failures."""
    good = [r for r in rows if not r["failed"]]

    def paired(of: Any) -> tuple[float, float, float]:
        return interval(np.array([np.mean([of(r) for r in good if r["picture"] == n]) for n in names]))

    jpeg = [r["jpeg"] for r in good]
    return {
        "rows": len(rows),
        "lami_go_failed": sum(r["failed"] for r in rows),
        "bytes": paired(lambda r: r["bytes"]),
        "psnr_db": paired(lambda r: r["psnr_db"]),
        "clean_psnr_db": paired(lambda r: r["clean_psnr_db"]),
        "psnr_loss_to_clean_db": paired(lambda r: r["clean_psnr_db"] - r["psnr_db"]),
        "psnr_gain_over_neighbour_filling_db": paired(lambda r: r["psnr_db"] - r["filled_psnr_db"]),
        "distance": paired(lambda r: r["distance"]),
        "clean_distance": paired(lambda r: r["clean_distance"]),
        "neighbour_filling_distance": paired(lambda r: r["filled_distance"]),
        "distance_saved_over_neighbour_filling": paired(lambda r: r["filled_distance"] - r["distance"]),
        "jpeg_failed_share": float(np.mean([j["failed"] for j in jpeg])),
        "jpeg_at_floor_share": float(np.mean([j["at_floor"] for j in jpeg])),
        "jpeg_bytes": float(np.mean([j["bytes"] for j in jpeg])),
    }


def study(images: Path, channel: str, seeds: int, limit: int | None, device: str) -> dict[str, Any]:
    """All pictures, all seeds."""
    work, rows, names = Study(device), [], []
    for index, (name, image) in enumerate(tqdm(list(pictures(images, limit=limit)), desc=channel, unit="img")):
        names.append(name)
        clean = work.lami_go.send(image, "clean", seed=0, frame_index=index).reconstruction
        assert clean is not None
        base = {"clean_psnr_db": psnr_db(image, clean.image), "clean_distance": work.judge.distance(image, clean.image)}
        rows += [{"picture": name} | base | work.row(image, channel, seed, index) for seed in range(seeds)]
    return {"channel": channel, "seeds": seeds, "pictures": len(names), "summary": summarise(rows, names), "rows": rows}


def report(result: dict[str, Any], source: str) -> str:
    """The summary as a Markdown table."""
    lines = [
        f"# {result['channel']}: {result['pictures']} pictures of {source}, {result['seeds']} channel seeds",
        "",
        "| figure | mean | 95 % interval |",
        "|-|-|-|",
    ]
    for key, value in result["summary"].items():
        if isinstance(value, tuple | list):
            lines.append(f"| {key} | {value[0]:.3f} | {value[1]:.3f} to {value[2]:.3f} |")
        else:
            lines.append(f"| {key} | {value:.3f} | |" if isinstance(value, float) else f"| {key} | {value} | |")
    return "\n".join([*lines, ""])


def main(
    images: Annotated[Path, typer.Option(help="folder or tar of pictures; each is cut to 256x256")],
    out: Annotated[Path, typer.Option(help="folder for the table and the rows")],
    channel: str = "packet_erasure:rate=0.2",
    seeds: int = 5,
    limit: int | None = None,
    device: str = "auto",
) -> None:
    """Run the study; write rows.json and README.md."""
    result = study(images, channel, seeds, limit, device)
    out.mkdir(parents=True, exist_ok=True)
    (out / "rows.json").write_text(json.dumps(result, indent=1))
    (out / "README.md").write_text(report(result, images.name))
    print(report(result, images.name))


if __name__ == "__main__":
    run_command(main)
