"""Stand-in for `comfy_api.latest.io`: just enough of ComfyUI's V3 schema to run our nodes.

Inputs take the keywords that ComfyUI's take and refuse all others, so that a node which loads
here loads there as well.
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar


class FolderType(str, Enum):  # noqa: UP042  ComfyUI's enums are str mixins too
    input = "input"
    output = "output"
    temp = "temp"


class UploadType(str, Enum):  # noqa: UP042
    image = "image_upload"


class NumberDisplay(str, Enum):  # noqa: UP042
    number = "number"
    slider = "slider"


class Hidden(str, Enum):  # noqa: UP042
    """What a node may ask the engine for without a wire."""

    unique_id = "UNIQUE_ID"
    prompt = "PROMPT"
    extra_pnginfo = "EXTRA_PNGINFO"
    dynprompt = "DYNPROMPT"


class HiddenHolder:
    """The hidden values of one execution; what was not asked for reads as None."""

    def __init__(self, **values: Any):
        self.__dict__.update(values)

    def __getattr__(self, name: str) -> None:
        return None


@dataclass
class Input:
    """A socket without a widget; `io_type` is set by the type it belongs to."""

    id: str
    display_name: str | None = None
    optional: bool = False
    tooltip: str | None = None
    lazy: bool | None = None
    extra_dict: dict[str, Any] | None = None
    raw_link: bool | None = None
    advanced: bool | None = None

    io_type: ClassVar[str]

    def get_io_type(self) -> str:
        return self.io_type


@dataclass
class WidgetInput(Input):
    """An input whose value may stand in the workflow itself."""

    default: Any = None
    socketless: bool | None = None
    force_input: bool | None = None


@dataclass
class BooleanInput(WidgetInput):
    label_on: str | None = None
    label_off: str | None = None


@dataclass
class IntInput(WidgetInput):
    min: int | None = None
    max: int | None = None
    step: int | None = None
    control_after_generate: bool | None = None
    display_mode: NumberDisplay | None = None


@dataclass
class FloatInput(WidgetInput):
    min: float | None = None
    max: float | None = None
    step: float | None = None
    round: float | None = None
    display_mode: NumberDisplay | None = None


@dataclass
class StringInput(WidgetInput):
    multiline: bool = False
    placeholder: str | None = None
    dynamic_prompts: bool | None = None


class ComboInput(WidgetInput):
    """One of a list of values. An Enum class stands for the list of its values."""

    def __init__(
        self,
        id: str,
        options: list | type[Enum] | None = None,
        display_name: str | None = None,
        control_after_generate: bool | None = None,
        upload: UploadType | None = None,
        image_folder: FolderType | None = None,
        **shared: Any,
    ):
        default = shared.pop("default", None)
        super().__init__(
            id,
            display_name,
            default=default.value if isinstance(default, Enum) else default,
            **shared,
        )
        is_enum = isinstance(options, type) and issubclass(options, Enum)
        self.options = [option.value for option in options] if is_enum else list(options or [])
        self.control_after_generate = control_after_generate
        self.upload = upload
        self.image_folder = image_folder


@dataclass
class Output:
    id: str | None = None
    display_name: str | None = None
    tooltip: str | None = None
    is_output_list: bool = False

    io_type: ClassVar[str]


def Custom(io_type: str, input_class: type[Input] = Input) -> type:  # noqa: N802
    """A wire type with its Input and Output classes, as `io.Custom` of ComfyUI makes it."""
    parts = {
        "io_type": io_type,
        "Type": Any,
        "Input": type("Input", (input_class,), {"io_type": io_type}),
        "Output": type("Output", (Output,), {"io_type": io_type}),
    }
    return type(io_type.title(), (), parts)


Int = Custom("INT", IntInput)
Float = Custom("FLOAT", FloatInput)
String = Custom("STRING", StringInput)
Boolean = Custom("BOOLEAN", BooleanInput)
Combo = Custom("COMBO", ComboInput)
Image = Custom("IMAGE")
Mask = Custom("MASK")
Latent = Custom("LATENT")
Model = Custom("MODEL")
Vae = Custom("VAE")
Clip = Custom("CLIP")
ClipVision = Custom("CLIP_VISION")
Conditioning = Custom("CONDITIONING")
Sampler = Custom("SAMPLER")
Sigmas = Custom("SIGMAS")
Noise = Custom("NOISE")
Guider = Custom("GUIDER")
AnyType = Custom("*")


@dataclass
class Schema:
    """What a node is: its id, names, inputs and outputs."""

    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list[Input] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    hidden: list[Hidden] = field(default_factory=list)
    description: str = ""
    search_aliases: list[str] = field(default_factory=list)
    is_input_list: bool = False
    is_output_node: bool = False
    is_deprecated: bool = False
    is_experimental: bool = False
    not_idempotent: bool = False

    def finalize(self) -> None:
        """Give output nodes what they write into PNGs; refuse ids that are there twice."""
        if self.is_output_node:
            needed = (Hidden.prompt, Hidden.extra_pnginfo)
            self.hidden = [*self.hidden, *(h for h in needed if h not in self.hidden)]
        for kind, ids in (
            ("input", [i.id for i in self.inputs]),
            ("output", [o.id for o in self.outputs if o.id]),
        ):
            twice = [name for name, count in Counter(ids).items() if count > 1]
            if twice:
                raise ValueError(f"{self.node_id}: {kind} ids must be unique, {twice} are not")


class NodeOutput:
    """What `execute` returns: the outputs in order, and what the user interface shows."""

    def __init__(self, *args: Any, ui: Any = None):
        self.args = args
        self.ui = ui

    @property
    def result(self) -> tuple | None:
        return self.args or None

    def __getitem__(self, index: int) -> Any:
        return self.args[index]


class ComfyNode:
    """Base of V3 nodes: `define_schema` and `execute`, both class methods.

    `validate_inputs` and `fingerprint_inputs` are optional and not defined here, so that the
    engine can tell whether a node has them.
    """

    hidden = HiddenHolder()

    @classmethod
    def define_schema(cls) -> Schema:
        raise NotImplementedError(f"{cls.__name__} has no define_schema")

    @classmethod
    def execute(cls, **inputs: Any) -> NodeOutput:
        raise NotImplementedError(f"{cls.__name__} has no execute")

    @classmethod
    def GET_SCHEMA(cls) -> Schema:  # noqa: N802
        """The node's schema, finalized as ComfyUI does."""
        schema = cls.define_schema()
        schema.finalize()
        return schema
