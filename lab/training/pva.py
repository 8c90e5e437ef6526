"""`mannequin train pva`: parallel visual attention for your own diffusers model, on your pictures.

FOLDER holds a folder for each person with two pictures or more (png, jpg, webp). A caption may lie
beside a picture (NAME.txt), and consent.txt beside them all; its first line goes into the adapter's
file. MODEL is a local folder of a diffusers pipeline, SD1.5 or SD2, best an inpainting
one. What learns: Q', K', V' of every cross-attention, the identity transformer and the word <new1>;
the model stays as it is. Ctrl-C stops after the step at hand, and the same command goes on there.
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ...hosts.adapters import ENDING, write_adapter
from ...methods.personalize import stratified
from ...methods.pva import PVA
from .pva_album import Album, Batch, describe, open_describer
from .pva_folder import Person, consent_summary, fingerprint, read_people
from .pva_learned import Learned, adapter_of
from .pva_pipeline import PipelineBase, open_pipeline
from .pva_saved import Saved

STEPS, RATE, WORD_RATE, ROWS, WARMUP = 10_000, 1e-4, 1e-3, 4, 100
REPORT = 30.0  # seconds between lines of the log
PRECISIONS = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass
class Task:
    """What a training works on."""

    base: PipelineBase
    people: list[Person]
    album: Album
    embedding: str
    side: int


class Denoising(nn.Module):
    """The base's own loss with the branch in place, as one module for accelerate to wrap."""

    def __init__(self, base: PipelineBase, learned: Learned) -> None:
        super().__init__()
        self.base, self.learned = base, learned

    def forward(self, batch: Batch, t: Tensor, noise: Tensor) -> Tensor:
        learned, device = self.learned, t.device
        vectors = batch.vectors.to(device)
        present = batch.present.to(device).repeat_interleave(vectors.shape[2], 1)
        tokens = learned.identity(vectors.flatten(1, 2), present)
        text = self.base.speak(batch.prompts, learned.word)
        method = PVA(learned.projections(), tokens)
        picture, region = batch.picture.to(device), batch.region.to(device)
        return self.base.error(picture, region, t, noise, text, method)


def prepare(options: argparse.Namespace, accelerator: Accelerator) -> Task:
    """Opens everything that a training needs. Raises ValueError for what the user has to change."""
    if options.out.suffix != ENDING:
        raise ValueError(f"{options.out}: expected a name ending in {ENDING} for --out.")
    people, warnings = read_people(options.folder)
    device, dtype = accelerator.device, PRECISIONS[accelerator.mixed_precision]
    base = open_pipeline(options.model, device, dtype)
    side = options.size or base.side
    if side % base.multiple:
        raise ValueError(f"Expected --size in steps of {base.multiple} for this model; got {side}.")
    describer = open_describer(options.faces, options.clip_vision, device)
    _say(accelerator, *(f"warning: {one}" for one in warnings))
    album = describe(people, describer, options.whole)
    _say(accelerator, f"{len(people)} people, {len(album)} pictures of {side}x{side}")
    if album.found < len(album):
        _say(
            accelerator,
            f"warning: one face was found in {album.found} of {len(album)} pictures; of the others "
            "the middle is taken. The finder that ships knows rendered people only: cut the faces "
            "out yourself and add --whole.",
        )
    return Task(base, people, album, describer.name, side)


def train(
    task: Task, options: argparse.Namespace, accelerator: Accelerator, saved: Saved
) -> Learned:
    """Trains or goes on; KeyboardInterrupt when it was stopped, with everything saved."""
    torch.manual_seed(options.seed)
    base = task.base
    learned = Learned(base.layers(), task.album.dimension, base.word())
    rest = [p for p in learned.parameters() if p is not learned.word]
    groups = [
        {"params": rest, "lr": options.rate, "full": options.rate},
        {"params": [learned.word], "lr": options.word_rate, "full": options.word_rate},
    ]
    loss, optimizer = accelerator.prepare(
        Denoising(base, learned), torch.optim.AdamW(groups, weight_decay=0.01)
    )
    loss.train()
    step = saved.load()
    _say(accelerator, f"going on at step {step}" if step else f"training in {options.work}")
    batches = _batches(task, options, accelerator.process_index, step)
    last_save = last_log = time.monotonic()
    sums: list[float] = []
    with closing(batches), _stoppable(accelerator):
        while step < options.steps:
            for group in optimizer.param_groups:
                group["lr"] = group["full"] * min(1.0, (step + 1) / WARMUP)
            for _ in range(options.accumulate):
                batch, t, noise = next(batches)
                with accelerator.accumulate(loss):
                    value = loss(batch, t.to(accelerator.device), noise.to(accelerator.device))
                    accelerator.backward(value)
                    if accelerator.sync_gradients:
                        accelerator.clip_grad_norm_(learned.parameters(), 1.0)
                    optimizer.step()
                    optimizer.zero_grad()
                sums.append(float(value.detach()))
            step += 1
            now = time.monotonic()
            if now - last_log > REPORT or step == options.steps:
                mean = round(sum(sums) / len(sums), 5)
                _say(accelerator, json.dumps({"step": step, "loss": mean}))
                sums, last_log = [], now
            stop = accelerator.check_trigger()
            if stop or step == options.steps or now - last_save > options.every:
                saved.save(step)
                last_save = now
            if stop and step < options.steps:
                raise KeyboardInterrupt(
                    f"Stopped after step {step} of {options.steps}; the same command goes on there."
                )
    return learned


def _batches(
    task: Task, options: argparse.Namespace, process: int, step: int
) -> Iterator[tuple[Batch, Tensor, Tensor]]:
    """Batch, timesteps [B] and noise from a step on, one ahead of what is asked for.

    Each is seeded by its number, so that a resumed training draws what an unbroken one would have
    drawn.
    """
    rows, base = options.batch, task.base
    cells = task.side // base.factor

    def draw(number: int) -> tuple[Batch, Tensor, Tensor]:
        rng = np.random.default_rng([options.seed, process, number])
        g = torch.Generator().manual_seed(int(rng.integers(2**62)))
        batch = task.album.draw(rows, task.side, rng)
        noise = torch.randn(rows, base.vae.config.latent_channels, cells, cells, generator=g)
        return batch, stratified(rows, base.levels, g), noise

    numbers = range(step * options.accumulate, options.steps * options.accumulate)
    with ThreadPoolExecutor(1) as thread:
        coming = [thread.submit(draw, number) for number in numbers[:1]]
        for number in numbers:
            batch = coming.pop().result()
            if number + 1 in numbers:
                coming.append(thread.submit(draw, number + 1))
            yield batch


@contextmanager
def _stoppable(accelerator: Accelerator) -> Iterator[None]:
    """The first Ctrl-C is told to all processes after their step, the second stops at once."""

    def stop(*_: Any) -> None:
        signal.signal(signal.SIGINT, before)
        accelerator.set_trigger()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _settings(task: Task, options: argparse.Namespace, accelerator: Accelerator) -> dict[str, Any]:
    """What must not change under a training; more steps may be added."""
    names = ("rate", "word_rate", "batch", "accumulate", "seed", "whole")
    return {
        **{name: getattr(options, name) for name in names},
        "pictures": fingerprint(task.people),
        "model": task.base.name,
        "embedding": task.embedding,
        "size": task.side,
        "mixed_precision": accelerator.mixed_precision,
        "processes": accelerator.num_processes,
    }


def export(task: Task, learned: Learned, options: argparse.Namespace, command: str) -> None:
    """Writes the adapter, with where it comes from and who agreed."""
    state = {name: t.detach().cpu() for name, t in learned.state_dict().items()}
    consent = consent_summary(task.people)
    provenance = {
        "made_by": command,
        "made": date.today().isoformat(),
        "steps": options.steps,
        "people": len(task.people),
        "pictures": len(task.album),
        "consent": consent,
        "licence": "not set: whoever trained it decides, within the licences of the model, of the "
        "face network and of the pictures",
    }
    adapter = adapter_of(learned, state, task.embedding, task.base.name)
    write_adapter(
        options.out, replace(adapter, consent={"consent": consent}, provenance=provenance)
    )


def _command(arguments: list[str]) -> str:
    """The command line, with files and folders by their last names: where they lie is private."""

    def told(argument: str) -> str:
        option, equals, value = argument.rpartition("=")
        return option + equals + (Path(value).name or value)

    return shlex.join(["mannequin", "train", "pva", "--", *map(told, arguments)])


def _say(accelerator: Accelerator, *lines: str) -> None:
    if accelerator.is_main_process:
        for line in lines:
            print(line, file=sys.stderr, flush=True)


def main(arguments: list[str]) -> None:
    """Trains, or goes on with, the adapter that the arguments describe."""
    parser = argparse.ArgumentParser("mannequin train pva --", description=__doc__)
    add = parser.add_argument
    add("--folder", type=Path, required=True, help="FOLDER/PERSON/pictures")
    add("--model", type=Path, required=True, help="local folder of a diffusers pipeline")
    add("--out", type=Path, required=True, help="adapter to write, .safetensors")
    add("--faces", type=Path, help="face model, which finds faces and describes them")
    add("--clip-vision", type=Path, help="folder of a CLIPVisionModel that describes faces instead")
    add("--whole", action="store_true", help="the pictures are face crops: do not cut faces out")
    add("--work", type=Path, help="folder to stop and go on in; default: beside --out")
    add("--steps", type=_positive, default=STEPS)
    add("--rate", type=float, default=RATE, help="learning rate, after a short warm-up")
    add("--word-rate", type=float, default=WORD_RATE, help="learning rate of <new1>")
    add("--batch", type=_positive, default=ROWS, help="pictures at a time, per device")
    add("--accumulate", type=_positive, default=1, help="batches per step")
    add("--size", type=_positive, help="side of the pictures, pixels; default: the model's")
    add("--seed", type=int, default=0)
    add("--every", type=float, default=600.0, help="seconds between saved states")
    add("--mixed-precision", choices=PRECISIONS, help="default: what accelerate is set to, or no")
    options = parser.parse_args(arguments)
    options.work = options.work or options.out.with_name(f"{options.out.stem}-training")
    accelerator = Accelerator(
        mixed_precision=options.mixed_precision, gradient_accumulation_steps=options.accumulate
    )
    try:
        task = prepare(options, accelerator)
        saved = Saved(options.work, accelerator, _settings(task, options, accelerator))
    except ValueError as error:
        parser.exit(2, f"{error}\n")
    learned = train(task, options, accelerator, saved)
    if accelerator.is_main_process:
        export(task, learned, options, _command(arguments))
        print(options.out)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more; came {number}")
    return number
