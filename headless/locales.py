"""Writes the English locale files from the schemas: `python -m mannequin.headless.locales`.

ComfyUI's front end looks a text up by the language, `nodeDefs`, the node id and the input's name
or the output's number. Other languages are translated by hand, entry by entry.
"""

import json
from pathlib import Path
from typing import Any

from .registry import registry

ROOT = Path(__file__).resolve().parents[1] / "locales"
PREFIX = "Mannequin"


def node_definitions() -> dict[str, Any]:
    """The English `nodeDefs.json`: names and explanations of our nodes, inputs and outputs."""
    schemas = (node.GET_SCHEMA() for name, node in registry().items() if name.startswith(PREFIX))
    return {
        schema.node_id: {
            "display_name": schema.display_name,
            "description": schema.description,
            "inputs": {
                spec.id: _entry(spec.display_name or spec.id, spec.tooltip)
                for spec in schema.inputs
            },
            "outputs": {
                str(number): _entry(output.display_name or output.io_type, output.tooltip)
                for number, output in enumerate(schema.outputs)
            },
        }
        for schema in sorted(schemas, key=lambda schema: schema.node_id)
    }


def main_texts() -> dict[str, Any]:
    """The English `main.json`: our menu and the names of our wires."""
    categories, wires = set(), set()
    for name, node in registry().items():
        if name.startswith(PREFIX):
            schema = node.GET_SCHEMA()
            categories.update(schema.category.split("/"))
            wires.update(spec.io_type for spec in [*schema.inputs, *schema.outputs])
    ours = {wire for wire in wires if wire.startswith(PREFIX.upper())}
    return {
        "nodeCategories": {name: name for name in sorted(categories)},
        "dataTypes": {
            wire: wire.removeprefix(f"{PREFIX.upper()}_").replace("_", " ").title()
            for wire in sorted(ours)
        },
    }


def write(folder: Path) -> None:
    """Writes main.json and nodeDefs.json into the folder of a language."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, texts in (("main", main_texts()), ("nodeDefs", node_definitions())):
        content = json.dumps(texts, indent=2, ensure_ascii=False) + "\n"
        (folder / f"{name}.json").write_text(content, encoding="utf-8")


def _entry(name: str, tooltip: str | None) -> dict[str, str]:
    return {"name": name} | ({"tooltip": tooltip} if tooltip else {})


if __name__ == "__main__":
    write(ROOT / "en")
