"""The workflows for weights that the user brings: published Leffa models and plain checkpoints.

The published Leffa files are .pth, and the front end may only be pointed at safetensors. So these
workflows carry no download hint for them; their notes say where the files are and how to convert.
"""

from .graph import Lane, Node, Workflow
from .workflow_parts import (
    ATTENTION,
    DECODED,
    LATENT,
    MODEL,
    NEGATIVE,
    POSITIVE,
    REPAINTED,
    RESULTS,
    SAMPLING,
    TOLD,
    VAE,
    Column,
    attention,
    conditioning,
    decode,
    encode,
    load,
    load_mask,
    looked,
    main_line,
    paste,
    person_model,
    preview,
    sample,
    save,
    told,
)

STEPS, CFG, SEED = 30, 2.5, 42
CHECKPOINT = {
    "name": "v1-5-pruned-emaonly-fp16.safetensors",
    "url": "https://huggingface.co/Comfy-Org/stable-diffusion-v1-5-archive/resolve/main/"
    "v1-5-pruned-emaonly-fp16.safetensors",
    "directory": "checkpoints",
}
LANES = (
    Lane(MODEL, 500, ("Flow-guided attention",)),
    Lane(VAE, 840, ("Decode",)),
    *told(864, 888, 912),
)

PUBLISHED = """
**The model, once**: download `{file}.pth` from huggingface.co/franciszzj/Leffa (MIT licence as
stated there; its training data has terms of its own, for research), then in a terminal

`mannequin convert {file}.pth -o leffa_{file}.safetensors`

and put the result into `models/mannequin`. Press R to refresh the list.
"""
PLACEHOLDERS = """
The example pictures are small and have no dense pose; they only show what goes where. Sampling is
as published: ddpm, 30 steps, cfg 2.5. Set *reference_run* to "once" for speed.
"""


def published_sampling(reference: str) -> list[Column]:
    """Sampling as the published Leffa code does it."""
    sampler = {
        "model": ("Guidance rescale", "model"),
        "add_noise": True,
        "noise_seed": SEED,
        "cfg": CFG,
        "positive": POSITIVE,
        "negative": NEGATIVE,
        "sampler": ("Choose sampler", "SAMPLER"),
        "sigmas": ("Noise levels", "sigmas"),
        "latent_image": LATENT,
    }
    levels = {"model": ATTENTION, "steps": STEPS, "denoise": 1.0}
    return [
        attention(reference),
        {
            SAMPLING: [
                Node(
                    "MannequinGuidanceRescale",
                    "Guidance rescale",
                    {"model": ATTENTION, "strength": 1.0},
                ),
                Node("KSamplerSelect", "Choose sampler", {"sampler_name": "ddpm"}),
                Node("MannequinDiffusersScheduler", "Noise levels", levels),
            ]
        },
        {SAMPLING: [Node("SamplerCustom", "Sample", sampler)]},
        decode("output"),
    ]


def leffa_try_on() -> Workflow:
    """The published try-on model on a person and a garment."""
    reference = "Encode garment"
    return Workflow(
        "leffa_try_on",
        [
            {
                "1  Garment": [load("Load garment", "garment_c.png")],
                "1  Person": [
                    load("Load person dense pose", "no_dense_pose.png"),
                    load("Load person", "person_b.png"),
                    load_mask("Load garment mask", "person_b_garment_mask.png"),
                ],
            },
            person_model("leffa_virtual_tryon.safetensors"),
            {
                TOLD: [
                    encode(reference, "Load garment"),
                    conditioning(
                        dense_pose=("Load person dense pose", "IMAGE"),
                        person=("Load person", "IMAGE"),
                        garment_mask=("Load garment mask", "MASK"),
                    ),
                ]
            },
            *published_sampling(reference),
            {"5  Only the garment changes": [paste("Paste back", DECODED)]},
            {
                RESULTS: [
                    preview(reference),
                    save("Save result", ("Paste back", "IMAGE"), "leffa_try_on"),
                ]
            },
        ],
        f"""## Try-on with the published Leffa model
{PUBLISHED.format(file="virtual_tryon")}
(`virtual_tryon_dc.pth`, for whole outfits, works too.)

**Your pictures**, 768 x 1024 each: the garment; the person; DensePose's drawing of the person's
body parts (the DensePose node of comfyui_controlnet_aux makes it); a mask, white where the garment
goes.
{PLACEHOLDERS}""",
        {
            **main_line("Guidance rescale", "Paste back"),
            "Load garment": 60,
            "Load person dense pose": 540,
            "Load person model": 440,
            reference: 300,
            "Person conditioning": 940,
        },
        (
            *LANES,
            *looked(reference),
            Lane(DECODED, 215, ("Flow preview",)),
            Lane(REPAINTED, 1044, ("Paste back",)),
            Lane(("Load person", "IMAGE"), 1180, ("Paste back",)),
        ),
    )


def leffa_pose_transfer() -> Workflow:
    """The published pose transfer model on a person and a pose."""
    reference = "Encode reference"
    return Workflow(
        "leffa_pose_transfer",
        [
            {
                "1  Person": [load("Load reference", "person_a.png")],
                "1  Pose": [load("Load target pose", "no_dense_pose.png")],
            },
            person_model("leffa_pose_transfer.safetensors"),
            {
                TOLD: [
                    encode(reference, "Load reference"),
                    conditioning(dense_pose=("Load target pose", "IMAGE")),
                ]
            },
            *published_sampling(reference),
            {RESULTS: [preview(reference), save("Save result", DECODED, "leffa_pose_transfer")]},
        ],
        f"""## Pose transfer with the published Leffa model
{PUBLISHED.format(file="pose_transfer")}
**Your pictures**, 768 x 1024 each: the person; and the dense pose to paint, as DensePose's IUV in a
lossless PNG with red = V, green = U, blue = part index (0 to 24). The result has its size.
{PLACEHOLDERS}""",
        {
            **main_line("Guidance rescale"),
            "Load reference": 60,
            "Load target pose": 540,
            "Load person model": 440,
            reference: 300,
            "Person conditioning": 940,
        },
        (*LANES, *looked(reference)),
    )


def reference_attention_sd15() -> Workflow:
    """A plain SD1.5 checkpoint that looks at a picture, without training."""
    reference, loader = "Encode reference", "Load checkpoint"
    model, clip, vae = ((loader, output) for output in ("MODEL", "CLIP", "VAE"))
    positive, negative = (
        (title, "CONDITIONING") for title in ("What to paint", "What not to paint")
    )
    latent = ("Size of the picture", "LATENT")

    def prompt(title: str, text: str) -> Node:
        return Node("CLIPTextEncode", title, {"clip": clip, "text": text})

    checkpoint = {"ckpt_name": CHECKPOINT["name"]}
    return Workflow(
        "reference_attention_sd15",
        [
            {"1  Reference": [load("Load reference", "photograph.png")]},
            {"2  Model": [Node("CheckpointLoaderSimple", loader, checkpoint, (CHECKPOINT,))]},
            {
                TOLD: [
                    encode(reference, "Load reference", model=model, vae=vae),
                    prompt(positive[0], "portrait photo of a woman in an orange spacesuit"),
                    prompt(negative[0], "blurry, lowres, text"),
                    Node(
                        "EmptyLatentImage",
                        latent[0],
                        {"width": 512, "height": 680, "batch_size": 1},
                    ),
                ]
            },
            attention(reference, model=model),
            sample(20, 6.0, SEED, positive, negative, latent, "normal"),
            decode(vae=vae),
            {
                RESULTS: [
                    preview(reference),
                    save("Save result", DECODED, "reference_attention_sd15"),
                ]
            },
        ],
        """## Reference attention on a plain checkpoint

Any SD1.5 or SDXL checkpoint looks at its own features of your picture while it paints another.
Nothing was trained for it: what arrives depends on the checkpoint and on what you describe.

**The model**: `v1-5-pruned-emaonly-fp16.safetensors` in `models/checkpoints` (the front end offers
the download), or choose your own checkpoint.

**Load reference**: any picture. *What to paint*: describe the result, with what it shares with the
reference.

**Then** press Run. *strength* of Flow-Guided Attention: lower when the picture is copied too
closely, higher when too little arrives. *Flow preview* shows where every pixel looked.
""",
        {
            **main_line(),
            "Load reference": 60,
            loader: 440,
            reference: 300,
            positive[0]: 520,
        },
        (
            Lane(model, 470, ("Flow-guided attention",)),
            Lane(vae, 140, ("Decode",)),
            Lane(positive, 750, ("Sample",)),
            Lane(negative, 774, ("Sample",)),
            Lane(latent, 798, ("Sample",)),
            *looked(reference),
        ),
    )


CHECKPOINT_WORKFLOWS = (leffa_try_on, leffa_pose_transfer, reference_attention_sd15)
