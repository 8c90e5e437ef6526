"""`mannequin train attributes`: reads off a face what its prompt says, to measure who listens.

Only the benchmarks use it: the share of painted faces that show the expression, beard, glasses and
hair that were asked for.
"""

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ...hosts.faces import FaceNet
from ..people.identity import GENDERS, HAIR_COLOURS, HAIR_STYLES
from ..people.looks import BEARDS, EXPRESSIONS, GLASSES
from ..people.portrait_shards import write_portraits
from .autoencoder import shipped
from .face import disturb
from .inpaint import HELDOUT_PORTRAITS, PORTRAITS
from .inpaint_data import Pool
from .loop import Schedule, Trainer

VALUES: dict[str, tuple] = {
    "gender": GENDERS,
    "skin_tone": tuple(range(6)),
    "hair_style": HAIR_STYLES,
    "hair_colour": tuple(HAIR_COLOURS),
    "expression": EXPRESSIONS,
    "beard": BEARDS,
    "glasses": GLASSES,
}
STEPS, BATCH, SEED = 2000, 48, 3
WIDTHS = (8, 24, 48, 96, 128)
FILE = "attributes.safetensors"


class AttributeReader(nn.Module):
    """picture [B, 3, 64, 64] -1..1 -> logits [B, len(values)] per attribute of VALUES."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes = [len(values) for values in VALUES.values()]
        self.net = FaceNet(WIDTHS, sum(self.sizes))

    def forward(self, picture: Tensor) -> dict[str, Tensor]:
        return dict(zip(VALUES, self.net(picture).split(self.sizes, 1), strict=True))

    @torch.inference_mode()
    def read(self, picture: Tensor) -> list[dict]:
        """The likeliest value of every attribute, per picture."""
        found = {name: logits.argmax(1).tolist() for name, logits in self(picture).items()}
        return [
            {name: VALUES[name][found[name][i]] for name in VALUES} for i in range(len(picture))
        ]


def answers(facts: list[dict]) -> dict[str, Tensor]:
    """Index of the true value, [B] per attribute; -100 (not counted) where nothing can be seen: the
    colour of no hair."""
    out = {}
    for name, values in VALUES.items():
        index = [values.index(f[name]) for f in facts]
        if name == "hair_colour":
            index = [
                -100 if f["hair_style"] == "bald" else i for i, f in zip(index, facts, strict=True)
            ]
        out[name] = torch.tensor(index)
    return out


class AttributeLoss:
    """Mean cross-entropy of all attributes on disturbed pictures."""

    def __init__(self, reader: AttributeReader, pool: Pool) -> None:
        self.reader, self.pool, self.vae = reader, pool, shipped()

    def __call__(self, step: int, g: torch.Generator) -> dict[str, Tensor]:
        which = torch.randint(len(self.pool), (BATCH,), generator=g)
        image, _ = self.pool.take(which)
        picture = disturb(image.movedim(-1, 1).float() / 127.5 - 1, self.vae, g)
        true = answers([self.pool.facts[i] for i in which.tolist()])
        logits = self.reader(picture)
        return {"total": sum(F.cross_entropy(logits[n], true[n]) for n in VALUES) / len(VALUES)}


def train(pool: Pool, checkpoint: Path, steps: int) -> tuple[Trainer, AttributeReader]:
    """Trains or resumes; the returned reader has the averaged weights."""
    torch.manual_seed(SEED)
    reader = AttributeReader()
    trainer = Trainer({"reader": reader}, Schedule(steps, decay=0.5), checkpoint, SEED, every=120.0)
    trainer.run(AttributeLoss(reader, pool))
    reader.load_state_dict(trainer.averaged()["reader"])
    return trainer, reader.eval()


@torch.inference_mode()
def accuracy(reader: AttributeReader, pool: Pool) -> dict[str, float]:
    """Share of pictures whose attribute is read as it is, per attribute."""
    image, _ = pool.take(torch.arange(len(pool)))
    logits = reader(image.movedim(-1, 1).float() / 127.5 - 1)
    out = {}
    for name, true in answers(pool.facts).items():
        seen = true >= 0
        out[name] = round(float((logits[name].argmax(1) == true)[seen].float().mean()), 3)
    return out


def load_reader(path: Path) -> AttributeReader:
    """From the file that main() writes."""
    reader = AttributeReader()
    reader.load_state_dict(load_file(path))
    return reader.eval()


def main(arguments: list[str]) -> None:
    """Renders, trains and writes WORK/attributes.safetensors, with its held-out accuracy."""
    parser = argparse.ArgumentParser("mannequin train attributes", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/train-tiny"))
    parser.add_argument("--portraits", type=int, default=PORTRAITS, help="people to render")
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args(arguments)
    write_portraits(options.work / "portraits-heldout", 0, HELDOUT_PORTRAITS, "heldout")
    write_portraits(options.work / "portraits", 0, options.portraits, "train")
    run(options.work, options.steps)


def run(work: Path, steps: int) -> None:
    """Trains on what `work` holds."""
    pool, unseen = Pool("face", work / "portraits"), Pool("face", work / "portraits-heldout")
    _, reader = train(pool, work / "attributes-training.safetensors", steps)
    measured = accuracy(reader, unseen)
    print(json.dumps({"attributes": measured}), flush=True)
    save_file(reader.state_dict(), work / FILE, {"accuracy": json.dumps(measured)})
