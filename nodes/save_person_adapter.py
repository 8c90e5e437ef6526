"""Save Person Adapter: a person's adapter as a file that says whose it is and who agreed."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ..hosts.adapters import ENDING, write_adapter
from . import model_files
from .schema import CATEGORY, PersonAdapter, build

NOT_IN_NAMES = frozenset('/\\:*?"<>|')  # on any system, so that files can be passed on
UNSAID = "not stated"
CONSENT = (UNSAID, "I am this person", "this person agreed", "this person does not exist")


class SavePersonAdapter(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return build(
            io.Schema,
            node_id="MannequinSavePersonAdapter",
            display_name="Save Person Adapter",
            category=CATEGORY,
            description="Saves a person's adapter to models/mannequin/adapters. The file says who "
            "it is and who agreed; nothing is overwritten.",
            search_aliases=["pva", "save face", "consent"],
            is_output_node=True,
            inputs=[
                PersonAdapter.Input("adapter", tooltip="From Personalize Face."),
                io.String.Input(
                    "name",
                    default="person",
                    tooltip="The file's name without ending; a number is added when it exists.",
                ),
                io.Combo.Input(
                    "consent",
                    options=list(CONSENT),
                    default=UNSAID,
                    tooltip="A personal adapter can paint this person. Say that they agreed; "
                    "without that it is not saved.",
                ),
                io.String.Input(
                    "note",
                    default="",
                    tooltip="What else is to be known, such as what was agreed to and until when.",
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="adapter_name", tooltip="The name for Load Person Adapter."
                )
            ],
        )

    @classmethod
    def execute(cls, adapter, name, consent, note):
        if consent == UNSAID and adapter.personal:
            raise ValueError(
                "Expected a statement of consent; got none. A personal adapter paints a real "
                "person's face: choose who agreed in consent."
            )
        stem = name.strip().removesuffix(ENDING)
        if not stem.strip(". ") or not stem.isprintable() or NOT_IN_NAMES & {*stem}:
            raise ValueError(
                f"Expected a plain file name without folders; got {name!r}. Files go to "
                f"models/mannequin/adapters: use letters, digits and spaces, none of "
                f"{' '.join(sorted(NOT_IN_NAMES))}"
            )
        folder = Path(folder_paths.get_folder_paths(model_files.ADAPTERS)[0])
        path, number = folder / f"{stem}{ENDING}", 1
        while path.exists():
            number += 1
            path = folder / f"{stem}_{number}{ENDING}"
        said = {"consent": consent, "note": note, "saved": date.today().isoformat()}
        write_adapter(path, replace(adapter, consent=said))
        return io.NodeOutput(path.name)
