"""The server's nodes as schemas, made of its /object_info: any node that is installed there."""

from typing import Any

from .. import schema
from ..registry import Registry
from ..validate import is_dynamic

UPLOADS = ("image_upload", "video_upload", "audio_upload", "animated_image_upload", "file_upload")
VALUES = {
    "INT": schema.Int,
    "FLOAT": schema.Float,
    "STRING": schema.String,
    "BOOLEAN": schema.Boolean,
}


def catalog(object_info: dict[str, dict]) -> Registry:
    """A registry for settings and checks, from the JSON of GET /object_info."""
    return {name: _node_class(name, info) for name, info in object_info.items()}


def _node_class(name: str, info: dict) -> type:
    made = schema.Schema(
        node_id=name,
        display_name=info.get("display_name"),
        inputs=_inputs(info),
        outputs=[schema.Custom(_type(given)).Output() for given in info.get("output") or ()],
        is_output_node=bool(info.get("output_node")),
    )
    return type(name, (schema.ComfyNode,), {"define_schema": classmethod(lambda cls: made)})


def _inputs(info: dict) -> list[schema.Input]:
    """Inputs in the server's order."""
    found = []
    for group in ("required", "optional"):
        for name, spec in ((info.get("input") or {}).get(group) or {}).items():
            kind, options = _parts(spec)
            dynamic = is_dynamic(_type(kind))
            found.append(_input(name, kind, options, group == "optional" or dynamic))
    return found


def _parts(spec: Any) -> tuple[Any, dict]:
    """Type and options of `["INT", {...}]`, `["MODEL"]` or `[["a", "b"], {...}]`."""
    if not isinstance(spec, list | tuple) or not spec:
        return spec, {}
    return spec[0], spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}


def _type(kind: Any) -> str:
    return "COMBO" if isinstance(kind, list | tuple) else str(kind)


def _input(name: str, kind: Any, options: dict, optional: bool) -> schema.Input:
    if _type(kind) == "COMBO":
        choices = kind if isinstance(kind, list | tuple) else options.get("options")
        upload = any(options.get(key) for key in UPLOADS)
        return schema.Combo.Input(
            name,
            options=list(choices or ()),
            upload=schema.UploadType.image if upload else None,
            optional=optional,
        )
    made = VALUES.get(str(kind), schema.Custom(str(kind))).Input(name, optional=optional)
    for bound in ("min", "max"):
        if isinstance(options.get(bound), int | float) and hasattr(made, bound):
            setattr(made, bound, options[bound])
    return made
