"""Figures by groups of people: is anybody served worse?"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .heldout import Pairs
from .metrics import garment, psnr, ssim

ATTRIBUTES = ("skin_tone", "gender", "age", "build")


def by_group(
    pairs: Pairs, people: Sequence[dict[str, Any]], pictures: dict[str, Tensor]
) -> dict[str, dict[str, float]]:
    """Per group ("skin tone 0", "gender male") its size and, per picture kind [B, H, W, 3],
    person PSNR and garment SSIM; people: the attributes of each pair's person.
    """
    groups: dict[str, dict[str, float]] = {}
    for attribute in ATTRIBUTES:
        values = [person[attribute] for person in people]
        for value in sorted(set(values)):
            rows = torch.tensor([v == value for v in values])
            target, label = pairs.target[rows], pairs.label[rows]
            figures: dict[str, float] = {"pairs": int(rows.sum())}
            for kind, picture in pictures.items():
                figures[f"person_psnr{kind}"] = psnr(picture[rows], target, label > 0)
                figures[f"garment_ssim{kind}"] = ssim(picture[rows], target, garment(label))
            groups[f"{attribute.replace('_', ' ')} {value}"] = figures
    return groups


def flat(groups: dict[str, dict[str, float]]) -> dict[str, float]:
    """person_psnr_detail_skin_tone_0 and so on."""
    return {
        f"{figure}_{group.replace(' ', '_').replace('-', '_')}": value
        for group, figures in groups.items()
        for figure, value in figures.items()
    }


def group_table(groups: dict[str, dict[str, float]]) -> str:
    """Markdown: each group's figures with flow detail transfer, and the warp's beside them."""
    rows = [
        "| people | pairs | person PSNR | that of the warp | garment SSIM | that of the warp |",
        "|---|---|---|---|---|---|",
    ]
    for group, f in groups.items():
        ours = f"{f['person_psnr_detail']:.2f} | {f['person_psnr_warp']:.2f}"
        clothes = f"{f['garment_ssim_detail']:.3f} | {f['garment_ssim_warp']:.3f}"
        rows.append(f"| {group} | {f['pairs']} | {ours} | {clothes} |")
    return "\n".join(rows) + "\n"
