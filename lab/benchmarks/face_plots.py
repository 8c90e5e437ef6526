"""The face benchmark's table and curve."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ASKED = {
    "id_base": "plain inpainting, told the whole caption",
    "id_base_wordless": "plain inpainting, told no more than PVA is in words",
    "id_pva": "PVA without tuning: clearly above id_base",
    "id_pva40": "PVA after 40 steps: at least id_full800",
    "id_pva_same_people": "PVA without tuning, of the tuned people",
    "id_full800": "all cross-attention weights, 800 steps",
    "id_real": "the real picture (upper bound)",
    "id_strangers": "another person's real picture (chance)",
    "steps_ratio": "<= 0.05",
    "time_ratio": "<= 0.1",
    "personalize_seconds": "< 120",
    "full_seconds": "",
    "worst_group_id": "of id_pva",
    "best_group_id": "of id_pva",
    "attribute_accuracy": "PVA with words",
    "attribute_accuracy_text_only": "words alone",
    "attribute_id": "PVA with words",
    "attribute_id_text_only": "words alone",
    "step_overhead": "<= 0.15",
}


def table(written: Mapping[str, Any]) -> str:
    """Markdown of everything measured."""
    lines = [
        f"`mannequin bench face --seed {written['seed']}`: {written['people']} held-out people, "
        f"{written['tuned_people']} of them tuned. Likeness is the mean cosine of a judge network "
        "to the person's references.",
        "",
        "| figure | measured | what it is, or what is asked |",
        "|---|---|---|",
        *(f"| {name} | {written[name]:.3f} | {what} |" for name, what in ASKED.items()),
        "",
        "By groups of people:",
        "",
        "| people | how many | id_pva |",
        "|---|---|---|",
        *(f"| {name} | {n} | {score:.3f} |" for name, (n, score) in written["groups"].items()),
        "",
        "Edits: the share in which a reader sees what was asked for, and the likeness.",
        "",
        "| edit | people | accuracy | words alone | likeness | words alone |",
        "|---|---|---|---|---|---|",
        *(
            f"| {name} | {r['people']} | {r['accuracy']:.2f} | {r['accuracy_text_only']:.2f} | "
            f"{r['id']:.3f} | {r['id_text_only']:.3f} |"
            for name, r in written["edits"].items()
        ),
    ]
    return "\n".join(lines) + "\n"


def plot(
    ours: Mapping[int, float], theirs: Mapping[int, float], figures: Mapping[str, float], out: Path
) -> None:
    """Likeness over steps, both ways of tuning; the axis is linear to 40 and logarithmic beyond."""
    figure, axes = plt.subplots(figsize=(7, 4), dpi=110)
    axes.plot(list(ours), list(ours.values()), "o-", label="PVA: branch and word")
    axes.plot(list(theirs), list(theirs.values()), "s-", label="all cross-attention weights")
    for name, label in (("id_base", "words alone"), ("id_real", "real picture")):
        axes.axhline(figures[name], linestyle=":", color="grey")
        axes.text(850, figures[name], label, va="bottom", ha="right", color="grey")
    axes.set_xscale("symlog", linthresh=40)
    axes.set_xlabel("steps")
    axes.set_ylabel("likeness")
    axes.set_xticks([0, 10, 20, 40, 80, 200, 400, 800], [0, 10, 20, 40, 80, 200, 400, 800])
    axes.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(out)
    plt.close(figure)
