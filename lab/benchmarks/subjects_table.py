"""The table of the benchmark of several subjects."""

from collections.abc import Mapping
from typing import Any

WHOLE = "_everything"  # ends the names of figures for which the scene is painted too
ASKED = {
    "id_moa": "likeness to one's own references, with the router",
    "id_masked": "the same where everybody has a mask",
    "id_branch": "the personalised branch alone, without a router",
    "id_prior": "the prior, told only man or woman (chance)",
    "id_ratio": "id_moa / id_branch: >= 0.95",
    "background_psnr_moa": "dB against the prior's own sample, of a scene that is given; "
    ">= background_psnr_branch + 6",
    "background_psnr_masked": "the same where everybody has a mask",
    "background_psnr_branch": "dB, the branch alone",
    "background_ssim_moa": "against the prior's own sample",
    "background_ssim_branch": "the branch alone",
    "two_subject_accuracy": "more like one's own references than the other's: >= 0.9",
    "two_subject_accuracy_masked": "the same where everybody has a mask",
    "two_subject_accuracy_no_router": "the branch alone",
    "two_subject_accuracy_prior": "the prior (chance)",
    "router_iou": "routes above a half against the people's masks, mean over all layers but the "
    "first and the last",
    "subject_iou": "the same for each subject's own mask, all cross-attentions together",
    "background_to_prior": "the prior's share of the background in the same layers: >= 0.9",
    "background_to_prior_all_layers": "with the first and the last, which no loss tells where to "
    "look",
    "diversity_ratio": "everything painted: variance of backgrounds over seeds, over the prior's: "
    ">= 0.95",
    "step_ratio": "CPU time with MoA over that without: <= 1.6",
}
ALSO_WHOLE = (
    "id_moa",
    "id_masked",
    "id_branch",
    "id_prior",
    "background_psnr_moa",
    "background_psnr_masked",
    "background_psnr_branch",
    "two_subject_accuracy",
    "two_subject_accuracy_masked",
    "two_subject_accuracy_no_router",
    "two_subject_accuracy_prior",
)


def table(written: Mapping[str, Any]) -> str:
    """Markdown of everything measured."""
    layers = written["router_iou_layers"]
    lines = [
        f"`mannequin bench subjects --seed {written['seed']}`: {written['scenes']} held-out scenes "
        "of two people whose places others take, painted into the given scene from pure noise; "
        f"routes of {written['routed_scenes']} real scenes of one to three people, at three noise "
        "levels. Likeness is the mean cosine of a judge network to the person's references.",
        "",
        "| figure | measured | what it is, or what is asked |",
        "|---|---|---|",
        *(f"| {name} | {written[name]:.3f} | {what} |" for name, what in ASKED.items()),
        "",
        "The same with the scene painted too, from silhouettes in one colour behind noise:",
        "",
        "| figure | measured |",
        "|---|---|",
        *(f"| {name} | {written[name + WHOLE]:.3f} |" for name in ALSO_WHOLE),
        "",
        "Routes by layer:",
        "",
        "| layer | IoU with the people's masks | background to the prior |",
        "|---|---|---|",
        *(
            f"| {name} | {value:.3f} | {written['background_to_prior_layers'][name]:.3f} |"
            for name, value in layers.items()
        ),
        "",
        "By groups of people:",
        "",
        "| people | how many | id_moa |",
        "|---|---|---|",
        *(f"| {name} | {n} | {score:.3f} |" for name, (n, score) in written["groups"].items()),
    ]
    return "\n".join(lines) + "\n"
