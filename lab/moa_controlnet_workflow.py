"""The workflow for several people on a plain SD1.5 checkpoint, which the user brings."""

from .checkpoint_workflows import CHECKPOINT
from .graph import Lane, Node, Workflow
from .inpaint_workflows import prompt
from .moa_workflows import (
    PREVIEW,
    ROUTED,
    ROUTER,
    ROUTES,
    SEED,
    UNWANTED,
    WHERE,
    WHO,
    encode_face,
    person,
    route,
    route_preview,
)
from .workflow_parts import DECODED, RESULTS, ROW, TOLD, decode, load, load_mask, sample, save

UNTRAINED = "from masks or attention"
HUB = "https://huggingface.co"
ADAPTER = {
    "name": "ip-adapter-plus-face_sd15.safetensors",
    "url": f"{HUB}/h94/IP-Adapter/resolve/main/models/ip-adapter-plus-face_sd15.safetensors",
    "directory": "mannequin_adapters",
}
VISION = {
    "name": "model.safetensors",
    "url": f"{HUB}/h94/IP-Adapter/resolve/main/models/image_encoder/model.safetensors",
    "directory": "clip_vision",
}
CONTROL = {
    "name": "control_v11p_sd15_canny_fp16.safetensors",
    "url": f"{HUB}/comfyanonymous/ControlNet-v1-1_fp16_safetensors/resolve/main/"
    "control_v11p_sd15_canny_fp16.safetensors",
    "directory": "controlnet",
}
STAND_INS = (
    f"mannequin/adapters/{ADAPTER['name']}",
    f"clip_vision/{VISION['name']}",
    f"controlnet/{CONTROL['name']}",
)
"""Where its files belong under models/, beside the checkpoint."""


def moa_with_controlnet() -> Workflow:
    """Two people on an SD1.5 checkpoint, without training, in a layout that edges give."""
    loader, vision, first, second = (
        "Load checkpoint",
        "Load CLIP vision",
        "Encode first person",
        "Encode second person",
    )
    own, clip, vae = ((loader, output) for output in ("MODEL", "CLIP", "VAE"))
    layout, latent = "Load layout", ("Size of the picture", "LATENT")
    seen = {"clip_vision": (vision, "CLIP_VISION"), "find_face": "whole picture"}
    chosen = {
        "router": UNTRAINED,
        "model": own,
        "clip": clip,
        "adapter": ("Load person adapter", "adapter"),
    }
    control = {
        "positive": (ROUTER, "positive"),
        "negative": (UNWANTED, "CONDITIONING"),
        "control_net": ("Load ControlNet", "CONTROL_NET"),
        "image": ("Edges", "IMAGE"),
        "strength": 0.8,
        "start_percent": 0.0,
        "end_percent": 0.8,
    }
    edges = {"image": (layout, "IMAGE"), "low_threshold": 0.1, "high_threshold": 0.3}
    size = {"width": 1024, "height": 512, "batch_size": 1}
    controlled = (("Apply ControlNet", name) for name in ("positive", "negative"))
    after = {"others": ("First person", "subjects"), "mask": ("Load second place", "MASK")}
    return Workflow(
        "moa_with_controlnet",
        [
            {
                WHO: [
                    load("Load first person", "portrait_a.png"),
                    load("Load second person", "portrait_b.png"),
                ],
                WHERE: [
                    load_mask("Load first place", "scene_ab_mask_a.png"),
                    load_mask("Load second place", "scene_ab_mask_b.png"),
                    load(layout, "scene_ab.png"),
                ],
            },
            {
                "2  Models": [
                    Node("CLIPVisionLoader", vision, {"clip_name": VISION["name"]}, (VISION,)),
                    Node(
                        "MannequinLoadPersonAdapter",
                        "Load person adapter",
                        {"adapter_name": ADAPTER["name"]},
                        (ADAPTER,),
                    ),
                    Node(
                        "CheckpointLoaderSimple",
                        loader,
                        {"ckpt_name": CHECKPOINT["name"]},
                        (CHECKPOINT,),
                    ),
                    Node(
                        "ControlNetLoader",
                        "Load ControlNet",
                        {"control_net_name": CONTROL["name"]},
                        (CONTROL,),
                    ),
                ]
            },
            {
                "2  Faces": [
                    encode_face(first, "Load first person", **seen),
                    encode_face(second, "Load second person", **seen),
                ]
            },
            {
                TOLD: [
                    person("First person", "woman", first, mask=("Load first place", "MASK")),
                    prompt(UNWANTED, "blurry, lowres, text", clip),
                ]
            },
            {
                TOLD: [
                    person("Second person", "man", second, **after),
                    Node("Canny", "Edges", edges),
                ]
            },
            {
                TOLD: [
                    route(
                        "Second person",
                        "photo of a woman beside a man, in a sunny street",
                        **chosen,
                    ),
                    Node("EmptyLatentImage", latent[0], size),
                ]
            },
            {TOLD: [Node("ControlNetApplyAdvanced", "Apply ControlNet", control)]},
            sample(25, 6.0, SEED, *controlled, latent, "normal", ROUTED),
            decode(vae=vae),
            {RESULTS: [route_preview(), save("Save result", DECODED, "moa_with_controlnet")]},
        ],
        """## Two people and a layout, on SD1.5

Two people on a plain SD1.5 checkpoint, without any training: an IP-Adapter file paints each of
them inside their mask, a ControlNet keeps the edges of a picture, the checkpoint does the rest.
SDXL works alike with its own files.

**The files**: the checkpoint, `ip-adapter-plus-face_sd15.safetensors` with its image encoder,
and a ControlNet for edges. The front end offers the downloads.

**Load first person** and **Load second person**: close-ups of the heads, hair to neck.
**Load first place** and **Load second place**: white where each of them is. **Load layout**: a
picture with the composition that you want. The example pictures are small and rendered; they
only show what goes where.

*MoA router*: the scene in words. Leave the masks away and the attention to *woman* and *man*
finds the places, less surely. LoRAs go between *Load checkpoint* and *MoA router*.

**Then** press Run. *Route preview* shows who was painted where.
""",
        {
            "Load first person": 60,
            "Load second person": 440,
            "Load first place": 900,
            "Load second place": 1280,
            layout: 1660,
            vision: 60,
            "Load person adapter": 180,
            loader: 320,
            "Load ControlNet": 500,
            first: 60,
            second: 280,
            "First person": 60,
            UNWANTED: 300,
            "Second person": 60,
            "Edges": 300,
            ROUTER: 60,
            latent[0]: 780,
            "Apply ControlNet": ROW,
            "Sample": ROW,
            "Decode": ROW,
            PREVIEW: 60,
            "Save result": 560,
        },
        (
            Lane(("Load first person", "IMAGE"), 30, (first,)),
            Lane(ROUTES, 200, (PREVIEW,)),
            Lane(ROUTED, 224, ("Sample",)),
            Lane((second, "faces"), 280, ("Second person",)),
            Lane(chosen["adapter"], 500, (ROUTER,)),
            Lane(own, 524, (ROUTER,)),
            Lane(clip, 548, (UNWANTED, ROUTER)),
            Lane(("Load second person", "IMAGE"), 640, (second,)),
            Lane(control["control_net"], 734, ("Apply ControlNet",)),
            Lane(control["negative"], 752, ("Apply ControlNet",)),
            Lane(control["image"], 770, ("Apply ControlNet",)),
            Lane(latent, 800, ("Sample",)),
            Lane(vae, 950, ("Decode",)),
            Lane(("Load first place", "MASK"), 980, ("First person",)),
            Lane(("Load second place", "MASK"), 1004, ("Second person",)),
            Lane((layout, "IMAGE"), 1028, ("Edges",)),
        ),
    )
