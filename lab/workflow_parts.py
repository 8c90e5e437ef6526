"""What our example workflows are put together from: nodes, and columns of groups of nodes."""

from .graph import Lane, Node, Wire

MODEL, VAE = ("Load person model", "model"), ("Load person model", "vae")
ATTENTION, FLOW = ("Flow-guided attention", "model"), ("Flow-guided attention", "flow")
POSITIVE, NEGATIVE, LATENT, REPAINTED = (
    ("Person conditioning", output) for output in ("positive", "negative", "latent", "repainted")
)
DECODED = ("Decode", "IMAGE")
SAMPLING, RESULTS, TOLD = "4  Sampling", "Results", "3  What the model is told"
ROW = 300  # where the nodes of the main line stand

Column = dict[str, list[Node]]


def load(title: str, file: str) -> Node:
    return Node("LoadImage", title, {"image": file})


def load_mask(title: str, file: str) -> Node:
    return Node("LoadImageMask", title, {"image": file, "channel": "red"})


def encode(
    title: str,
    image: str,
    dense_pose: str | None = None,
    more: str | None = None,
    model: Wire = MODEL,
    vae: Wire = VAE,
) -> Node:
    wires = {"image": (image, "IMAGE")}
    if dense_pose is not None:
        wires["dense_pose"] = (dense_pose, "IMAGE")
    if more is not None:
        wires["more"] = (more, "reference")
    return Node("MannequinReferenceEncoder", title, {"model": model, "vae": vae, **wires})


def person_model(file: str) -> Column:
    node = Node("MannequinLoadPersonModel", "Load person model", {"model_name": file})
    return {"2  Model": [node]}


def conditioning(**wires: Wire) -> Node:
    inputs = {"model": MODEL, "vae": VAE, **wires}
    return Node("MannequinPersonConditioning", "Person conditioning", inputs)


def attention(reference: str, strength: float = 1.0, model: Wire = MODEL) -> Column:
    inputs = {
        "model": model,
        "reference": (reference, "reference"),
        "strength": strength,
        "start_percent": 0.0,
        "end_percent": 1.0,
        "record_flow": True,
        "reference_run": "every step",
    }
    return {SAMPLING: [Node("MannequinFlowGuidedAttention", "Flow-guided attention", inputs)]}


def sample(
    steps: int,
    cfg: float,
    seed: int,
    positive: Wire,
    negative: Wire,
    latent: Wire,
    scheduler: str,
    model: Wire = ATTENTION,
) -> Column:
    inputs = {
        "model": model,
        "seed": seed,
        "steps": steps,
        "cfg": cfg,
        "sampler_name": "euler",
        "scheduler": scheduler,
        "positive": positive,
        "negative": negative,
        "latent_image": latent,
        "denoise": 1.0,
    }
    return {SAMPLING: [Node("KSampler", "Sample", inputs)]}


def decode(latent: str = "LATENT", vae: Wire = VAE) -> Column:
    inputs = {"samples": ("Sample", latent), "vae": vae}
    return {SAMPLING: [Node("VAEDecode", "Decode", inputs)]}


def paste(title: str, source: Wire) -> Node:
    """Pastes a picture over the person where it was repainted."""
    inputs = {
        "destination": ("Load person", "IMAGE"),
        "source": source,
        "x": 0,
        "y": 0,
        "resize_source": False,
        "mask": REPAINTED,
    }
    return Node("ImageCompositeMasked", title, inputs)


def preview(reference: str) -> Node:
    inputs = {
        "flow": FLOW,
        "image": DECODED,
        "reference": (reference, "reference"),
        "mode": "colour wheel",
    }
    return Node("MannequinFlowPreview", "Flow preview", inputs)


def save(title: str, picture: Wire, prefix: str) -> Node:
    return Node("SaveImage", title, {"images": picture, "filename_prefix": prefix})


def main_line(*titles: str) -> dict[str, int]:
    """The heights of nodes that stand in one row."""
    return dict.fromkeys(("Flow-guided attention", "Sample", "Decode", *titles), ROW)


def told(*heights: int) -> tuple[Lane, ...]:
    """The lanes of the conditioning and the first latent to the sampler."""
    return tuple(
        Lane(output, y, ("Sample",))
        for output, y in zip((POSITIVE, NEGATIVE, LATENT), heights, strict=True)
    )


def looked(reference: str, *to: str) -> tuple[Lane, ...]:
    """The lanes of the reference and the flow, above everything."""
    return (
        Lane((reference, "reference"), ROW - 115, (*to, "Flow preview")),
        Lane(FLOW, ROW - 145, (*to, "Flow preview")),
    )
