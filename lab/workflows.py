"""Writes the example workflows: `python -m mannequin.lab.workflows`.

Each is written twice from the description below: `workflows/X.json` for the canvas and
`workflows/api/X.json` for scripts.
"""

import json
from pathlib import Path

from PIL import Image

from .graph import Node, Workflow, api, graph

ROOT = Path(__file__).resolve().parents[1] / "workflows"
STEPS, CFG, SEED = 2, 1.5, 7
MODEL, VAE = ("Load person model", "model"), ("Load person model", "vae")


def load(title: str, file: str) -> Node:
    return Node("LoadImage", title, {"image": file})


def load_mask(title: str, file: str) -> Node:
    return Node("LoadImageMask", title, {"image": file, "channel": "red"})


def encode(title: str, image: str, dense_pose: str, more: str | None = None) -> Node:
    wires = {"image": (image, "IMAGE"), "dense_pose": (dense_pose, "IMAGE")}
    if more is not None:
        wires["more"] = (more, "reference")
    return Node("MannequinReferenceEncoder", title, {"model": MODEL, "vae": VAE, **wires})


def model() -> dict[str, list[Node]]:
    weights = {"model_name": "mannequin-tiny.safetensors"}
    return {"Person model": [Node("MannequinLoadPersonModel", "Load person model", weights)]}


def sampling(reference: str, mask: tuple[str, str] | None = None) -> list[dict[str, list[Node]]]:
    """From the encoded reference to the decoded picture, and the detail of the reference on it."""
    ref = (reference, "reference")
    flow = ("Flow-guided attention", "flow")
    decoded = ("Decode", "IMAGE")
    attention = {
        "model": MODEL,
        "reference": ref,
        "strength": 1.0,
        "start_percent": 0.0,
        "end_percent": 1.0,
        "record_flow": True,
    }
    sampler = {
        "model": ("Flow-guided attention", "model"),
        "seed": SEED,
        "steps": STEPS,
        "cfg": CFG,
        "sampler_name": "euler",
        "scheduler": "simple",
        "positive": ("Person conditioning", "positive"),
        "negative": ("Person conditioning", "negative"),
        "latent_image": ("Person conditioning", "latent"),
        "denoise": 1.0,
    }
    detail = {"image": decoded, "flow": flow, "reference": ref, "strength": 1.0, "threshold": 0.1}
    if mask is not None:
        detail["mask"] = mask
    preview = {"flow": flow, "image": decoded, "reference": ref, "mode": "colour wheel"}
    return [
        {
            "Sampling": [
                Node("MannequinFlowGuidedAttention", "Flow-guided attention", attention),
                Node("KSampler", "Sample", sampler),
                Node("VAEDecode", "Decode", {"samples": ("Sample", "LATENT"), "vae": VAE}),
            ],
            "Detail from the reference": [
                Node("MannequinFlowDetailTransfer", "Flow detail transfer", detail)
            ],
        },
        {"Where it looked": [Node("MannequinFlowPreview", "Flow preview", preview)]},
    ]


def save(title: str, picture: str, output: str, prefix: str) -> Node:
    return Node("SaveImage", title, {"images": (picture, output), "filename_prefix": prefix})


def results(name: str) -> dict[str, list[Node]]:
    return {
        "Results": [
            save("Save result", "Decode", "IMAGE", name),
            save("Save with detail", "Flow detail transfer", "image", f"{name}_detail"),
        ]
    }


def conditioning(**wires: tuple[str, str]) -> Node:
    return Node(
        "MannequinPersonConditioning", "Person conditioning", {"model": MODEL, "vae": VAE, **wires}
    )


def pose_transfer() -> Workflow:
    """One person, one picture, a new pose."""
    return Workflow(
        "pose_transfer",
        [
            {
                "Person": [
                    load("Load reference", "person_a.png"),
                    load("Load reference dense pose", "person_a_dense_pose.png"),
                ],
                "Pose": [load("Load target pose", "person_a_target_pose.png")],
            },
            {
                **model(),
                "What the model is told": [
                    encode("Encode reference", "Load reference", "Load reference dense pose"),
                    conditioning(dense_pose=("Load target pose", "IMAGE")),
                ],
            },
            *sampling("Encode reference"),
            results("pose_transfer"),
        ],
    )


def two_references() -> Workflow:
    """One person seen in two pictures, a new pose."""
    return Workflow(
        "two_references",
        [
            {
                "Person": [
                    load("Load reference", "person_a.png"),
                    load("Load reference dense pose", "person_a_dense_pose.png"),
                ],
                "The same person again": [
                    load("Load second reference", "person_a_second.png"),
                    load("Load second reference dense pose", "person_a_second_dense_pose.png"),
                ],
            },
            {
                **model(),
                "Pose": [load("Load target pose", "person_a_target_pose.png")],
                "What the model is told": [
                    encode("Encode reference", "Load reference", "Load reference dense pose"),
                    encode(
                        "Encode second reference",
                        "Load second reference",
                        "Load second reference dense pose",
                        more="Encode reference",
                    ),
                    conditioning(dense_pose=("Load target pose", "IMAGE")),
                ],
            },
            *sampling("Encode second reference"),
            results("two_references"),
        ],
    )


def try_on() -> Workflow:
    """A person puts on the garment of another picture; outside the mask every pixel stays."""
    mask = ("Person conditioning", "repainted")

    def paste(title: str, picture: str, output: str) -> Node:
        inputs = {
            "destination": ("Load person", "IMAGE"),
            "source": (picture, output),
            "x": 0,
            "y": 0,
            "resize_source": False,
            "mask": mask,
        }
        return Node("ImageCompositeMasked", title, inputs)

    sampled, preview = sampling("Encode garment", mask)
    sampled["Only the garment changes"] = [
        paste("Paste back", "Decode", "IMAGE"),
        paste("Paste back with detail", "Flow detail transfer", "image"),
    ]
    return Workflow(
        "try_on",
        [
            {
                "Person": [
                    load("Load person", "person_b.png"),
                    load("Load person dense pose", "person_b_dense_pose.png"),
                ],
                "Garment": [
                    load("Load garment", "garment_c.png"),
                    load("Load garment dense pose", "garment_c_dense_pose.png"),
                ],
            },
            {
                **model(),
                "What is repainted": [
                    load_mask("Load garment mask", "person_b_garment_mask.png"),
                    load_mask("Load hands mask", "person_b_hands_mask.png"),
                ],
                "What the model is told": [
                    encode("Encode garment", "Load garment", "Load garment dense pose"),
                    conditioning(
                        dense_pose=("Load person dense pose", "IMAGE"),
                        person=("Load person", "IMAGE"),
                        garment_mask=("Load garment mask", "MASK"),
                        hand_protect_mask=("Load hands mask", "MASK"),
                    ),
                ],
            },
            sampled,
            preview,
            {
                "Results": [
                    save("Save result", "Paste back", "IMAGE", "try_on"),
                    save("Save with detail", "Paste back with detail", "IMAGE", "try_on_detail"),
                ]
            },
        ],
    )


WORKFLOWS = (pose_transfer, try_on, two_references)


def write(root: Path) -> None:
    """Writes every workflow into root and root/api, and into root/inputs the black picture that
    stands for a dense pose nobody knows.
    """
    for folder in ("api", "inputs"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (96, 128)).save(root / "inputs" / "no_dense_pose.png")
    for make in WORKFLOWS:
        workflow = make()
        for path, content in (
            (root / f"{workflow.name}.json", graph(workflow)),
            (root / "api" / f"{workflow.name}.json", api(workflow)),
        ):
            path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(ROOT)
