"""What the tiny inpainting model paints, to be looked at while it trains.

`python -m mannequin.lab.training.inpaint_sheet WORK OUT.png` reads WORK's checkpoint or an
exported file's path.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from ...hosts.patches import PatchAutoencoder
from ...hosts.sampling import NoiseSchedule, noise_levels, sample
from ...hosts.text import TextEncoder, WordTokenizer
from .autoencoder import shipped
from .inpaint import concat, inpaint_config, make_inpaint, open_pools
from .inpaint_code import load_code
from .inpaint_data import Pool, paint_region

PROMPTS = (
    "the face of a young woman, long blond hair, a smile",
    "the face of a young woman, long black hair, a smile",
    "the face of a young man, short red hair, a full beard",
    "the face of a young man, short red hair, no beard",
    "the face of an older man, short grey hair, black round glasses",
    "the face of an older man, a bald head, sunglasses",
    "the face of a man, very dark skin, laughing",
    "the face of a woman, very light skin, surprised",
    "a left hand of a man, a fist, dark skin",
    "a right hand of a woman, open fingers, light skin",
)


class Painter:
    """Samples pictures with classifier-free guidance."""

    def __init__(
        self, unet: nn.Module, tokenizer: WordTokenizer, text: TextEncoder, vae: PatchAutoencoder
    ) -> None:
        self.unet, self.tokenizer, self.text, self.vae = unet, tokenizer, text, vae
        self.schedule = NoiseSchedule()

    @torch.inference_mode()
    def paint(
        self,
        picture: Tensor,
        region: Tensor,
        prompts: list[str],
        seed: int,
        steps: int = 12,
        scale: float = 2.5,
        one_noise: bool = False,
    ) -> Tensor:
        """picture [B, 3, H, W] -1..1, region [B, 1, H, W]; what is outside it stays as it is.

        scale 1 is without guidance; one_noise: all start from the same. Returns [B, 3, H, W].
        """
        seen = concat(self.vae, picture, region)
        count, _, h, w = seen.shape
        said = self.text(self.tokenizer(prompts))
        nothing = self.text(self.tokenizer([""] * count))
        words, seen_twice = torch.cat([said, nothing]), torch.cat([seen, seen])
        shape = (1 if one_noise else count, seen.shape[1] - 1, h, w)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        noise = noise.expand(count, -1, -1, -1)
        sigmas = noise_levels(self.schedule, "normal", steps, 1.0)

        def denoise(x: Tensor, sigma: float, index: int) -> Tensor:
            t = self.schedule.timestep(sigma)
            x = torch.cat([x, x]) / (1 + sigma**2) ** 0.5
            out = self.unet(torch.cat([x, seen_twice], 1), t, words, return_dict=False)[0]
            with_text, without = out.chunk(2)
            return without + scale * (with_text - without)

        latent = sample("euler", denoise, noise * sigmas[0], sigmas, 0, lambda index, x0: None)
        painted = self.vae.decode(latent).clamp(-1, 1)
        return torch.where(region > 0, painted, picture)


def load_painter(checkpoint: Path, vae: PatchAutoencoder) -> Painter:
    """From a training checkpoint's averaged weights, or from an exported file."""
    unet, tokenizer, text = make_inpaint(inpaint_config())
    stored = load_file(checkpoint)
    prefix = "ema." if any(k.startswith("ema.") for k in stored) else ""
    for name, module in (("unet", unet), ("text", text)):
        start = f"{prefix}{name}."
        module.load_state_dict(
            {k[len(start) :]: v.float() for k, v in stored.items() if k.startswith(start)}
        )
    return Painter(unet.eval(), tokenizer, text.eval(), vae)


def _row(pictures: Tensor) -> np.ndarray:
    x = ((pictures + 1) * 127.5).round().clamp(0, 255).byte().movedim(1, -1).numpy()
    return np.concatenate(list(x), 1)


def inpainting_rows(painter: Painter, pool: Pool, count: int, seed: int) -> list[np.ndarray]:
    """Held-out pictures, what the model sees of them, and what it paints, as rows."""
    which = torch.arange(count) * (len(pool) // count)
    image, label = pool.take(which)
    picture = image.movedim(-1, 1).float() / 127.5 - 1
    rng = np.random.default_rng(seed)
    region = torch.stack([paint_region(one, pool.domain, rng) for one in label]).unsqueeze(1)
    prompts = [pool.prompt(i) for i in which.tolist()]
    painted = painter.paint(picture, region, prompts, seed)
    return [_row(picture), _row(picture * (1 - region)), _row(painted)]


def prompt_rows(painter: Painter, seed: int, samples: int = 4) -> list[np.ndarray]:
    """Each of PROMPTS as a column, from nothing; the same noise along a row."""
    count, prompts = len(PROMPTS), list(PROMPTS)
    empty, everything = torch.zeros(count, 3, 64, 64), torch.ones(count, 1, 64, 64)
    return [
        _row(painter.paint(empty, everything, prompts, seed + k, one_noise=True))
        for k in range(samples)
    ]


def main(arguments: list[str]) -> None:
    """Writes the sheet: for each domain held-out pictures, masked, painted; then the prompts."""
    work, out = (Path(a) for a in arguments)
    torch.set_num_threads(1)
    folder = work if work.is_dir() else work.parent
    vae = load_code(work, open_pools(work)) if work.is_dir() else shipped(work)
    painter = load_painter(work / "inpaint.safetensors" if work.is_dir() else work, vae)
    rows = []
    for name, pool in open_pools(folder, heldout=True).items():
        rows += inpainting_rows(painter, pool, 7 if name == "body" else 10, seed=5)
    rows += prompt_rows(painter, seed=11)
    width = max(row.shape[1] for row in rows)
    sheet = np.concatenate([np.pad(r, ((0, 0), (0, width - r.shape[1]), (0, 0))) for r in rows])
    Image.fromarray(sheet).resize((width * 2, len(sheet) * 2), Image.NEAREST).save(out)


if __name__ == "__main__":
    main(sys.argv[1:])
