"""The pictures of the help pages, from pictures that runs really made.

`lab/help_pictures.sh` makes the runs and calls this with their folder.
"""

import math
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..hosts import attention
from ..hosts import diffusers as host
from ..hosts.sampling import NoiseSchedule, leading_noise_levels, noise_levels
from ..methods.framing import fit_picture
from ..methods.guidance import rescaled_by
from ..methods.leffa import Leffa
from ..methods.person import DENSE_POSE_CHANNELS
from ..methods.references import reference_of
from ..methods.repaint import area, condition
from .person_workflows import SEED, STEPS
from .pictures import INPUTS, ROOT, newest, read

PAGES = ROOT / "web" / "docs" / "pictures"
WEIGHTS = ROOT / "weights" / "mannequin-tiny.safetensors"
TILE, LINE, GAP = (192, 256), 22, 8
INK, PAPER, QUIET, MARGIN = (30, 31, 36), (232, 232, 228), (160, 162, 170), 16
PLOT, POINTS, SIGMAS = (700, 300), 10, (0.02, 20.0)
COLOURS = ((250, 196, 60), (90, 170, 255), (235, 110, 160))


def strip(tiles: dict[str, Image.Image | Tensor]) -> Image.Image:
    """Captioned tiles side by side; the caption stands below its tile."""
    sheet = Image.new("RGB", (len(tiles) * (TILE[0] + GAP) + GAP, TILE[1] + LINE + 2 * GAP), INK)
    pen = ImageDraw.Draw(sheet)
    for number, (caption, tile) in enumerate(tiles.items()):
        left = GAP + number * (TILE[0] + GAP)
        sheet.paste(_scaled(tile), (left, GAP))
        at = (left + TILE[0] // 2, GAP + TILE[1] + LINE // 2 + 2)
        pen.text(at, caption, PAPER, ImageFont.load_default(13), anchor="mm")
    return sheet


def _scaled(tile: Image.Image | Tensor) -> Image.Image:
    """In the middle of a tile; our small pictures keep their pixels, larger ones are reduced."""
    if isinstance(tile, Tensor):
        tile = Image.fromarray((tile.clamp(0, 1) * 255).round().byte().numpy())
    scale = min(TILE[0] / tile.width, TILE[1] / tile.height)
    small = tile.convert("RGB").resize(
        (round(tile.width * scale), round(tile.height * scale)),
        Image.NEAREST if scale > 1 else Image.LANCZOS,
    )
    canvas = Image.new("RGB", TILE, INK)
    canvas.paste(small, ((TILE[0] - small.width) // 2, (TILE[1] - small.height) // 2))
    return canvas


def given(name: str) -> Tensor:
    """An example input [H, W, 3]."""
    return read(INPUTS / f"{name}.png")


def load_person_model_page() -> Image.Image:
    """What the model's own autoencoder keeps of a picture."""
    _, vae = host.load_person_model(WEIGHTS)
    picture = given("person_a")
    latent = vae.encode(picture[None])
    colours = latent[0, :3].movedim(0, -1)
    colours = (colours - colours.amin((0, 1))) / (colours.amax((0, 1)) - colours.amin((0, 1)))
    channels = f"its latent (3 of {latent.shape[1]} channels)"
    return strip({"a picture": picture, channels: colours, "decoded again": vae.decode(latent)[0]})


def reference_encoder_page() -> Image.Image:
    """A picture of another shape in the model's frame."""
    wide = given("person_b")[:72]
    return strip(
        {
            "a picture of another shape": wide,
            "in mannequin-tiny's frame": fit_picture(wide[None], 128, 96)[0],
            "a dense pose of it, if known": given("person_b_dense_pose")[:72],
        }
    )


def person_conditioning_page() -> Image.Image:
    """What goes in for a try-on, and what is repainted."""
    person, pose = given("person_b"), given("person_b_dense_pose")
    garment, hands = given("person_b_garment_mask"), given("person_b_hands_mask")
    repainted = area(pose[None], person[None], garment[None, ..., 0], hands[None, ..., 0]).mask[0]
    grey = torch.where(repainted[..., None] > 0, torch.full_like(person, 0.5), person)
    return strip(
        {
            "dense_pose": pose,
            "person": person,
            "garment_mask": garment,
            "hand_protect_mask": hands,
            "what stays (grey: repainted)": grey,
        }
    )


def flow_guided_attention_page(runs: Path) -> Image.Image:
    """The same seed at four strengths."""
    tiles = {"the reference": given("person_a")}
    for strength in ("0.25", "0.5", "1", "2"):
        tiles[f"strength {strength}"] = read(newest(runs / f"strength_{strength}", "pose_transfer"))
    return strip(tiles)


def flow_preview_page(runs: Path) -> Image.Image:
    """The four modes on one run."""
    modes = ("colour wheel", "arrows", "warped reference", "confidence")
    folders = {mode: runs / f"mode_{mode.replace(' ', '_')}" / "previews" for mode in modes}
    return strip({mode: Image.open(newest(at, "preview")) for mode, at in folders.items()})


def flow_detail_transfer_page(runs: Path) -> Image.Image:
    """Before and after, beside the truth that the model never saw."""
    before, after = (newest(runs / "try_on", f"try_on{kind}") for kind in ("", "_detail"))
    return strip(
        {
            "the reference": given("garment_c"),
            "image": read(before),
            "with detail": read(after),
            "ground truth": given("person_b_target"),
        }
    )


@torch.inference_mode()
def guidance_rescale_page() -> Image.Image:
    """Strong guidance with and without it, beside the guidance that the model is used with."""
    model, vae = host.load_person_model(WEIGHTS)
    config = host.model_config(model)
    scale, frame = config["latent_scale"], tuple(config["size"])
    person, pose = given("person_a"), given("person_a_dense_pose")
    reference = reference_of(
        person[None], pose[None], frame, vae.encode, scale, DENSE_POSE_CHANNELS
    )
    concat, latent = condition(area(given("person_a_target_pose")[None]), vae.encode, scale)
    conditioning = [[torch.zeros(1, 1, 1), {"noise_concat": concat}]]
    model = host.patch(model, Leffa(reference))
    tiles = {"the reference": person}
    for cfg, strength in ((1.5, 0.0), (3.0, 0.0), (3.0, 0.35), (3.0, 1.0)):
        guided = host.guide(model, rescaled_by(strength))
        out = host.sample(
            guided, SEED, STEPS, cfg, "euler", "simple", conditioning, conditioning, latent
        )
        tiles[f"cfg {cfg:g}, strength {strength:g}"] = vae.decode(out["samples"])[0]
    return strip(tiles)


def diffusers_scheduler_page() -> Image.Image:
    """Noise levels of a run of SD1.5: this node's and two of ComfyUI's, step by step."""
    schedule = NoiseSchedule(zero_terminal_snr=False)
    lines = {
        "Diffusers Scheduler": leading_noise_levels(schedule.sigmas, POINTS)[:-1],
        "simple": noise_levels(schedule, "simple", POINTS, 1.0)[:-1],
        "normal": noise_levels(schedule, "normal", POINTS, 1.0)[:-1],
    }
    sheet = Image.new("RGB", PLOT, INK)
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    low, high = (math.log(s) for s in SIGMAS)
    left, top, width, height = 60, 20, PLOT[0] - 230, PLOT[1] - 70

    def at(step: int, sigma: float) -> tuple[float, float]:
        share = (math.log(sigma) - low) / (high - low)
        return left + width * step / (POINTS - 1), top + height * (1 - share)

    for sigma in (0.03, 0.1, 0.3, 1, 3, 10):
        pen.line([at(0, sigma), at(POINTS - 1, sigma)], (70, 72, 80))
        pen.text((left - 8, at(0, sigma)[1]), f"{sigma:g}", PAPER, font, anchor="rm")
    for step in range(POINTS):
        pen.text((at(step, 1)[0], top + height + 12), str(step + 1), PAPER, font, anchor="mm")
    pen.text((left + width / 2, PLOT[1] - 18), "step", PAPER, font, anchor="mm")
    pen.text((left + width + 24, top + height), "noise level", PAPER, font, anchor="lm")
    for (name, sigmas), colour in zip(lines.items(), COLOURS, strict=True):
        points = [at(step, float(sigma)) for step, sigma in enumerate(sigmas)]
        pen.line(points, colour, 2)
        for x, y in points:
            pen.ellipse([x - 3, y - 3, x + 3, y + 3], colour)
        row = top + 20 * list(lines).index(name)
        pen.text((left + width + 24, row + 6), name, colour, font, anchor="lm")
    return sheet


def written(lines: Sequence[str], width: int = 560) -> Image.Image:
    """Lines of text, indented ones quieter."""
    sheet = Image.new("RGB", (width, LINE * len(lines) + 2 * MARGIN), INK)
    pen = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        at = (MARGIN + 6 * indent, MARGIN + LINE * number)
        pen.text(at, line.strip(), QUIET if indent else PAPER, ImageFont.load_default(14))
    return sheet


def attention_backend_page() -> Image.Image:
    """The beginning of the report on this machine."""
    shown = attention.report(None).split("\n\n")
    return written("\n\n".join(shown[:3]).splitlines())


def draw(runs: Path) -> None:
    """Writes one picture per help page."""
    PAGES.mkdir(parents=True, exist_ok=True)
    for name, picture in (
        ("load_person_model", load_person_model_page()),
        ("reference_encoder", reference_encoder_page()),
        ("person_conditioning", person_conditioning_page()),
        ("flow_guided_attention", flow_guided_attention_page(runs)),
        ("flow_preview", flow_preview_page(runs)),
        ("flow_detail_transfer", flow_detail_transfer_page(runs)),
        ("guidance_rescale", guidance_rescale_page()),
        ("diffusers_scheduler", diffusers_scheduler_page()),
        ("attention_backend", attention_backend_page()),
    ):
        picture.save(PAGES / f"{name}.jpg", quality=88, optimize=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: lab/help_pictures.sh")
    draw(Path(sys.argv[1]))
