"""One training loop for every recipe: AdamW, warm-up / stable / decay, EMA, resumable."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .parallel import average, rank

RANKS_APART = 10_000_019  # the draws of parallel processes


@dataclass(frozen=True)
class Schedule:
    """Learning rate: linear warm-up, constant, then a linear fall to zero over the last part.

    steps: total; decay: the falling part, 0..1. A longer run may resume a shorter one from its
    stable part.
    """

    steps: int
    rate: float = 1e-3
    warmup: int = 100
    decay: float = 0.25
    ema: float = 0.999

    def at(self, step: int) -> float:
        falling = max(self.steps * self.decay, 1)
        return self.rate * min(1.0, (step + 1) / self.warmup, (self.steps - step) / falling)


@dataclass
class Trainer:
    """Trains `modules` together; everything needed to go on lies in one safetensors file.

    checkpoint: where; written every `every` seconds and at the end. log: one JSON line per report.
    """

    modules: dict[str, nn.Module]
    schedule: Schedule
    checkpoint: Path
    seed: int
    every: float = 300.0
    step: int = 0
    seconds: float = 0.0
    ema: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.parameters = [p for m in self.modules.values() for p in m.parameters()]
        self.optimizer = torch.optim.AdamW(
            self.parameters, self.schedule.rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
        )
        self.reset_average()
        if self.checkpoint.exists():
            self.load()

    def reset_average(self) -> None:
        """Starts the average at the modules as they are, for weights that came from elsewhere."""
        self.ema = {k: p.detach().clone() for k, p in self._named().items()}

    def _named(self) -> dict[str, Tensor]:
        return {f"{n}.{k}": p for n, m in self.modules.items() for k, p in m.state_dict().items()}

    def run(
        self,
        loss: Callable[[int, torch.Generator], dict[str, Tensor]],
        until: Callable[[], bool] = lambda: False,
    ) -> None:
        """Trains up to the schedule's last step, or until `until()`.

        loss(step, generator) returns named terms, "total" among them; the generator is seeded by
        (seed, step), so a resumed run draws what an unbroken one would have drawn. Inside
        `parallel.launch` every process draws its own and gradients are averaged.
        """
        sums: dict[str, float] = {}
        last_save = last_log = time.monotonic()
        since = 0
        while self.step < self.schedule.steps and not until():
            started = time.monotonic()
            for group in self.optimizer.param_groups:
                group["lr"] = self.schedule.at(self.step)
            generator = torch.Generator().manual_seed(
                self.seed * 1_000_003 + self.step + RANKS_APART * rank()
            )
            terms = loss(self.step, generator)
            self.optimizer.zero_grad()
            terms["total"].backward()
            average(self.parameters)
            nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.optimizer.step()
            self.step += 1
            self._average()
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach())
            since += 1
            now = time.monotonic()
            self.seconds += now - started
            if rank() > 0:
                continue
            if now - last_log > 30:
                means = {name: round(value / since, 5) for name, value in sums.items()}
                print(
                    json.dumps({"step": self.step, "seconds": round(self.seconds), **means}),
                    flush=True,
                )
                sums, since, last_log = {}, 0, now
            if now - last_save > self.every:
                self.save()
                last_save = now
        if rank() == 0:
            self.save()

    def _average(self) -> None:
        keep = min(self.schedule.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            now = self._named()
            torch._foreach_lerp_([self.ema[name] for name in now], list(now.values()), 1 - keep)

    def averaged(self) -> dict[str, dict[str, Tensor]]:
        """The EMA weights per module."""
        states: dict[str, dict[str, Tensor]] = {name: {} for name in self.modules}
        for key, p in self.ema.items():
            name, _, rest = key.partition(".")
            states[name][rest] = p
        return states

    def save(self) -> None:
        tensors = {f"model.{k}": p.detach().contiguous() for k, p in self._named().items()}
        tensors |= {f"ema.{k}": p.contiguous() for k, p in self.ema.items()}
        for i, p in enumerate(self.parameters):
            for k, v in self.optimizer.state[p].items():
                tensors[f"adam.{i}.{k}"] = v.contiguous()
        partial = self.checkpoint.with_suffix(".partial")
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, partial, {"step": str(self.step), "seconds": str(self.seconds)})
        partial.replace(self.checkpoint)

    def load(self) -> None:
        with safe_open(self.checkpoint, framework="pt") as file:
            self.step = int(file.metadata()["step"])
            self.seconds = float(file.metadata()["seconds"])
            stored = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        for name, module in self.modules.items():
            prefix = f"model.{name}."
            module.load_state_dict(
                {k[len(prefix) :]: v for k, v in stored.items() if k.startswith(prefix)}
            )
        self.ema = {k[4:]: v for k, v in stored.items() if k.startswith("ema.")}
        for i, p in enumerate(self.parameters):
            prefix = f"adam.{i}."
            state = {k[len(prefix) :]: v for k, v in stored.items() if k.startswith(prefix)}
            if state:
                self.optimizer.state[p] = state
        print(json.dumps({"resumed": self.step, "seconds": round(self.seconds)}), flush=True)
