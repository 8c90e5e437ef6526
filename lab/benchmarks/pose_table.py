"""The pose benchmark's tables."""

from collections.abc import Mapping
from typing import Any

from .pose_measures import HIDDEN, LOST, MOVED, TURNED, WORSE
from .pose_painting import CFG, ITERATIONS, SCALE
from .pose_pairs import FINDER_ERROR
from .pose_valid import BROKEN, MENDED, WALK

TOLD = {
    "": "imperfect dense poses and joints (the headline)",
    "_exact": "true dense poses and joints",
    "_armless": "imperfect, and the dense pose has lost an arm",
}
WAYS = {
    "_plain": "plain reference attention",
    "_aligned": f"aligner, {ITERATIONS} iterations",
    "_guided": f"guidance, scale {SCALE:g}",
    "": "both",
}
KINDS = {
    "crossed_arms": "crossed arms: a wrist beyond the line from neck to hips' middle",
    "turned_body": f"turned body: shoulders narrower than {TURNED} of the trunk",
    "occlusion": f"occlusion: something covers at least {HIDDEN:.1%} of the points",
    "hard": "any of them",
}


def table(f: Mapping[str, Any]) -> str:
    """Markdown of everything measured, with the command that makes it."""
    parts = [_about(f), _headline(f), _hard(f), _budget(f), _field(f), _curves(f), _groups(f)]
    return "\n\n".join(parts) + "\n"


def _row(*cells: Any) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _grid(*rows: tuple[Any, ...]) -> str:
    head, *others = rows
    return "\n".join([_row(*head), _row(*["---"] * len(head)), *(_row(*row) for row in others)])


def _about(f: Mapping[str, Any]) -> str:
    return (
        "# Is the pose right, and is the source's gone?\n\n"
        f"`mannequin bench pose --seed {f['seed']} --pairs {f['pairs']} --out FILE.json`: "
        f"{f['pairs']} held-out pairs as they come and hard ones chosen by their true joints; "
        f"{f['steps']} steps, cfg {CFG}. Keypoint error: mean distance of the joints "
        "seen in the target, as a network that only measures finds them in the result, in shares "
        "of the picture's height. Leakage: where a found joint stands between the target's (0) and "
        f"the source's (1), the mean over joints that are more than {MOVED:.0%} of the height "
        "apart. On the true pictures themselves the measuring network finds "
        f"{f['kp_error_real']:.4f} and {f['leakage_real']:.3f}: nothing can be told below. "
        f"Imperfect joints are {FINDER_ERROR:g} pixel off, covered ones are not told. "
        "Only guidance is told joints: plain reference attention and the aligner see the dense "
        "poses alone, so part of what guidance and both gain is that they know more."
    )


def _headline(f: Mapping[str, Any]) -> str:
    names = ("kp_error", "leakage", "garment_ssim", "person_psnr", "kp_error_hard")
    titles = ("keypoint error", "leakage", "garment SSIM", "person PSNR", "error, hard cases")
    rows = [("told", "answer", *titles)]
    for told, title in TOLD.items():
        for way, answer in WAYS.items():
            if f"kp_error{told}{way}" in f:
                rows.append((title, answer, *(f[f"{name}{told}{way}"] for name in names)))
    lines = [
        _grid(*rows),
        "",
        "Reduction, both against plain (95% interval over pairs; below 0 it grew):",
        "",
    ]
    for told, title in TOLD.items():
        shares = {
            title: f[f"{key}{told}"]
            for title, key in (
                ("keypoint error", "kp_reduction"),
                ("leakage", "leakage_reduction"),
                ("keypoint error of hard cases", "kp_reduction_hard"),
                ("leakage of hard cases", "leakage_reduction_hard"),
            )
        }
        said = [
            f"{name} {m:+.0%} less ({a:+.0%} to {b:+.0%})" for name, (m, a, b) in shares.items()
        ]
        lines.append(f"- {title}: {', '.join(said)}")
    return "\n".join(lines)


def _hard(f: Mapping[str, Any]) -> str:
    rows = [("hard cases, imperfectly told", "pairs", "plain", "both", "true pictures")]
    for key, title in KINDS.items():
        name = f"kp_error_{key}"
        rows.append((title, f[f"pairs_{key}"], f[f"{name}_plain"], f[name], f[f"{name}_real"]))
    return "Keypoint error by kind:\n\n" + _grid(*rows)


def _budget(f: Mapping[str, Any]) -> str:
    rows = [
        ("answer", "keypoint error", "leakage", "garment SSIM", "processor seconds per picture"),
        (
            f"both, {f['steps']} steps",
            f["kp_error_12"],
            f["leakage"],
            f["garment_ssim"],
            f["time_12"],
        ),
        (
            f"plain, {f['steps']} steps",
            f["kp_error_plain"],
            f["leakage_plain"],
            f["garment_ssim_plain"],
            f["time_12_plain"],
        ),
        (
            f"plain, {f['many_steps']} steps",
            f["kp_error_30_plain"],
            f["leakage_30_plain"],
            f["garment_ssim_30_plain"],
            f["time_30_plain"],
        ),
    ]
    return (
        f"{_grid(*rows)}\n\nFor its gradient guidance keeps {f['guidance_mib']:.2f} MiB per "
        f"picture in a step; through the generator it would be {f['through_generator_mib']:.1f} "
        f"MiB. Of its changes {f['clipped_share']:.1%} were clipped and {f['skipped_share']:.1%} "
        "skipped because a number was not finite."
    )


def _field(f: Mapping[str, Any]) -> str:
    by = ", ".join(f"{auc} at {noise}" for noise, auc in f["field_auc_by_noise"].items())
    scales = ", ".join(f"{s:g}" for s in BROKEN)
    return (
        f"Pose field, held-out people's poses against the same with noise of {scales} torsos on "
        f"every bone: AUC {f['field_auc']} ({by}). {WALK} gradient steps from poses broken by "
        f"{MENDED:g} torsos (before, after): the field's distance {f['mend_field_before']}, "
        f"{f['mend_field_after']}; distance from the pose that was broken "
        f"{f['mend_apart_before']}, {f['mend_apart_after']}; error of the limbs' lengths "
        f"{f['mend_limbs_before']}, {f['mend_limbs_after']} torsos."
    )


def _curves(f: Mapping[str, Any]) -> str:
    names = ("iterations", "scale", "steps", "kp_error", "leakage", "garment_ssim", "person_psnr")
    rows = [tuple(name.replace("_", " ") for name in ("curve", *names))]
    for curve, points in f["curves"].items():
        rows += [(curve.replace("_", " "), *(point[name] for name in names)) for point in points]
    said = []
    for name, what in (("iterations", "of the aligner's iterations"), ("scale", "of guidance")):
        best, over = f[f"turning_{name}"]
        beyond = "not seen as far as measured" if over is None else f"from {over:g} on"
        said.append(f"{what} {best:g} is best, over-correction {beyond}")
    return (
        f"On every third pair, imperfectly told; {'; '.join(said)} (it counts as over-correction "
        f"where the keypoint error is {WORSE:.0%} above its least or garment SSIM {LOST:g} below "
        f"that there). Defaults: {ITERATIONS} and {SCALE:g}.\n\n{_grid(*rows)}"
    )


def _groups(f: Mapping[str, Any]) -> str:
    names = ("pairs", "kp_error", "kp_error_plain", "garment_ssim", "garment_ssim_plain")
    rows = [("people", *(name.replace("_", " ") for name in names))]
    rows += [(who, *(own[name] for name in names)) for who, own in f["groups"].items()]
    return "By groups of people:\n\n" + _grid(*rows)
