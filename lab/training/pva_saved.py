"""Where `mannequin train pva` stops and goes on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from accelerate import Accelerator

SETTINGS = "settings.json"


class Saved:
    """The working folder: `step-N` as accelerate saves it, and the settings it belongs to.

    Raises ValueError when it was begun with other settings.
    """

    def __init__(self, folder: Path, accelerator: Accelerator, settings: dict[str, Any]) -> None:
        self.folder, self.accelerator = folder, accelerator
        path = folder / SETTINGS
        begun = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        accelerator.wait_for_everyone()
        if begun is not None:
            changed = [
                f"{name} was {begun.get(name)!r} and is {value!r}"
                for name, value in settings.items()
                if begun.get(name) != value
            ]
            if changed:
                raise ValueError(
                    f"{folder} holds a training that was begun otherwise: {'; '.join(changed)}. "
                    "Use the same settings and pictures, name another --work, or delete it."
                )
        elif accelerator.is_main_process:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(settings, indent=2), encoding="utf-8")

    def load(self) -> int:
        """Goes on from the newest state; returns its step, 0 where there is none."""
        step = max(self._there(), default=0)
        if step:
            self.accelerator.load_state(str(self._at(step)))
        return step

    def save(self, step: int) -> None:
        """The state appears under its name only when it is whole."""
        partial, before = self.folder / "partial", self._there()
        if self.accelerator.is_main_process:
            shutil.rmtree(partial, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(partial))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process and step not in before:
            partial.rename(self._at(step))
            for old in before:
                shutil.rmtree(self._at(old))

    def _at(self, step: int) -> Path:
        return self.folder / f"step-{step}"

    def _there(self) -> list[int]:
        return [int(path.name.removeprefix("step-")) for path in self.folder.glob("step-*")]
