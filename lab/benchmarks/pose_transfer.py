"""`mannequin bench pose-transfer`: the person model against two trivial answers.

The model and the nearest-IUV warp get the same imperfect dense poses; everything is held out.
"""

import json
import time
from pathlib import Path

import torch
from torch import Tensor

from ...hosts import diffusers as host
from ...methods.flow import detail_transfer, resize
from .groups import by_group, flat, group_table
from .heldout import Pairs, people_of, render_pairs
from .metrics import detail_correlation, flow_epe, garment, nearest_iuv_warp, psnr, ssim
from .sampling import pose_transfer
from .sheet import contact_sheet

WEIGHTS = Path(__file__).parents[2] / "weights" / "mannequin-tiny.safetensors"
STEPS, CFG = 2, 1.5


def figures(pairs: Pairs, result: Tensor, warped: Tensor, detailed: Tensor) -> dict[str, float]:
    """All figures but the flow's; pictures [B, H, W, 3]."""
    person = pairs.label > 0
    clothes = garment(pairs.label)
    hidden = person & ~pairs.visible
    answers = {"": result, "_copy": pairs.source, "_warp": warped, "_detail": detailed}
    out: dict[str, float] = {}
    for name, picture in answers.items():
        out[f"garment_ssim{name}"] = ssim(picture, pairs.target, clothes)
        out[f"person_psnr{name}"] = psnr(picture, pairs.target, person)
        out[f"occluded_psnr{name}"] = psnr(picture, pairs.target, hidden)
        out[f"garment_hf{name}"] = detail_correlation(picture, pairs.target, clothes)
    return out


def evaluate(
    model: host.PersonModel,
    vae: host.Autoencoder,
    pairs: Pairs,
    seed: int,
    steps: int = STEPS,
    cfg: float = CFG,
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Figures and the pictures they were measured on."""
    started = time.monotonic()
    result, field = pose_transfer(model, vae, pairs, steps, cfg, seed)
    seconds = (time.monotonic() - started) / len(pairs)
    detailed = []
    for i in range(len(pairs)):
        one = type(field)(field.xy[i : i + 1], field.confidence[i : i + 1])
        detailed.append(
            detail_transfer(result[i : i + 1], pairs.source[i : i + 1], one, 1.0, 0.1)[0]
        )
    warped = torch.stack(
        [
            nearest_iuv_warp(*views)
            for views in zip(pairs.source, pairs.source_pose, pairs.target_pose, strict=True)
        ]
    )
    pictures = {"result": result, "warped": warped, "detailed": torch.cat(detailed)}
    out = figures(pairs, result, warped, pictures["detailed"])
    h, w = pairs.target.shape[1:3]
    at_picture = resize(field, h, w).xy[:, 0]
    where = pairs.visible & (pairs.label > 0)
    out["flow_epe"] = flow_epe(at_picture, pairs.flow, where)
    out["seconds_per_picture"] = seconds
    return out, pictures


def run(
    seed: int,
    out: Path,
    pairs: int = 200,
    weights: Path = WEIGHTS,
    steps: int = STEPS,
    cfg: float = CFG,
) -> dict[str, float]:
    """Renders, samples, measures; writes `out` (JSON), and beside it a table and a sheet."""
    out = Path(out)
    model, vae = host.load_person_model(weights)
    held = render_pairs(seed, pairs)
    results, pictures = evaluate(model, vae, held, seed, steps, cfg)
    out.parent.mkdir(parents=True, exist_ok=True)
    kinds = {"_detail": pictures["detailed"], "_warp": pictures["warped"]}
    groups = by_group(held, people_of(seed, pairs), kinds)
    everything = {"seed": seed, "pairs": pairs, **results, **flat(groups)}
    out.write_text(json.dumps(everything, indent=1))
    text = f"{table(results, seed, pairs)}\nBy groups of people:\n\n{group_table(groups)}"
    out.with_suffix(".md").write_text(text, encoding="utf-8")
    columns = {
        "source": held.source,
        "target": held.target,
        "nearest IUV": pictures["warped"],
        "model": pictures["result"],
        "with detail": pictures["detailed"],
    }
    contact_sheet({k: v[:24] for k, v in columns.items()}).save(out.with_suffix(".jpg"), quality=88)
    return results


def table(results: dict[str, float], seed: int, pairs: int) -> str:
    """A markdown table of the four answers."""
    rows = [
        f"`mannequin bench pose-transfer --seed {seed} --pairs {pairs}`",
        "",
        "| answer | garment SSIM | person PSNR | occluded PSNR | garment detail correlation |",
        "|---|---|---|---|---|",
    ]
    names = {
        "copy the source": "_copy",
        "nearest-IUV warp": "_warp",
        "mannequin-tiny": "",
        "with flow detail transfer": "_detail",
    }
    for title, key in names.items():
        cells = [
            results[f"{figure}{key}"]
            for figure in ("garment_ssim", "person_psnr", "occluded_psnr", "garment_hf")
        ]
        ssim_, person, hidden, detail = cells
        rows.append(f"| {title} | {ssim_:.3f} | {person:.2f} | {hidden:.2f} | {detail:.3f} |")
    rows += ["", f"Flow end-point error {results['flow_epe']:.2f} px on visible surface."]
    return "\n".join(rows) + "\n"
