"""The workflow that swaps a person: DDIM inversion, then MoA with somebody else."""

from .graph import Lane, Node, Wire, Workflow
from .inpaint_workflows import MODEL, TOLD_OF, VAE, prompt
from .moa_workflows import (
    EVERYWHERE,
    MINIATURE,
    PREVIEW,
    REFERENCES,
    ROUTED,
    SEED,
    UNWANTED,
    WHERE,
    WHO,
    encode_face,
    lanes,
    model,
    person,
    route,
    route_preview,
    told_of,
    tops,
)
from .workflow_parts import DECODED, RESULTS, ROW, SAMPLING, TOLD, decode, load, load_mask, save

INVERSION_STEPS, INVERTED_CFG = 50, 1.5
PASTING = "5  Only the person changes"


def swap_subject() -> Workflow:
    """A picture is led back to the noise it comes from, and painted again with somebody else."""
    picture, first, second = "Load picture", "Encode reference", "Encode second reference"
    levels = {"model": MODEL, "steps": INVERSION_STEPS, "denoise": 1.0}
    told = {name: (TOLD_OF, name) for name in ("positive", "negative")}

    def run(title: str, model: Wire, cfg: float, sigmas: Wire, latent: Wire) -> Node:
        inputs = {
            "model": model,
            "add_noise": False,
            "noise_seed": SEED,
            "cfg": cfg,
            **told,
            "sampler": ("Choose sampler", "SAMPLER"),
            "sigmas": sigmas,
            "latent_image": latent,
        }
        return Node("SamplerCustom", title, inputs)

    there, up = ("Noise levels", "sigmas"), ("Without the last level", "high_sigmas")
    split = {"sigmas": there, "step": INVERSION_STEPS - 1}
    back = run("Back to noise", MODEL, 1.0, ("Flip", "SIGMAS"), (TOLD_OF, "latent"))
    again = run("Sample", ROUTED, INVERTED_CFG, there, ("Back to noise", "output"))
    pasted = {
        "destination": (picture, "IMAGE"),
        "source": DECODED,
        "x": 0,
        "y": 0,
        "resize_source": False,
        "mask": (PREVIEW, "mask"),
    }
    who = person("Somebody else", "woman", second, mask=("Load place", "MASK"))
    words = "a scene of a woman beside a man with a full beard, a shapes background"
    return Workflow(
        "swap_subject",
        [
            {
                WHO: [
                    load("Load reference", "portrait_c.png"),
                    load("Load second reference", "portrait_c_second.png"),
                ],
                WHERE: [
                    load(picture, "scene_ab.png"),
                    load_mask("Load mask", EVERYWHERE),
                    load_mask("Load place", "scene_ab_mask_a.png"),
                ],
            },
            {WHO: [encode_face(first, "Load reference")], **model()},
            {WHO: [encode_face(second, "Load second reference", more=(first, "faces"))]},
            {WHO: [who]},
            {TOLD: [route("Somebody else", words), prompt(UNWANTED, "")]},
            {TOLD: [told_of(picture, False)]},
            {
                SAMPLING: [
                    Node("MannequinDiffusersScheduler", "Noise levels", levels),
                    Node("KSamplerSelect", "Choose sampler", {"sampler_name": "euler"}),
                ],
            },
            {SAMPLING: [Node("SplitSigmas", "Without the last level", split)]},
            {SAMPLING: [Node("FlipSigmas", "Flip", {"sigmas": up})]},
            {SAMPLING: [back]},
            {SAMPLING: [again]},
            decode("output", VAE),
            {PASTING: [route_preview(1)]},
            {PASTING: [Node("ImageCompositeMasked", "Paste", pasted)]},
            {RESULTS: [save("Save result", ("Paste", "IMAGE"), "swap_subject")]},
        ],
        f"""## Swap a subject

A person in a picture becomes somebody else, and the rest of the picture stays. *Back to noise*
runs the sampler backwards (DDIM inversion): from the picture to the noise that it would come
from. *Sample* paints it again from there, with another person behind the word.

**Load picture**: 128 x 64 pixels. **Load mask**: white all over. **Load place**: white where
the person is who is to be replaced.
**Load reference** and **Load second reference**: the new person. {REFERENCES}
*MoA router*:
describe the picture as it is, with the word of the new person (*Somebody else*).

**Then** press Run. More steps in *Noise levels* lead back more faithfully; *Without the last level*
then wants one less than that, because noise cannot be told from a picture that has none. A higher
`cfg` in *Sample* follows the words more and the picture less. What *Route preview* gives as a mask
is pasted into the picture.
{MINIATURE}""",
        tops(
            picture,
            Load_place=1700,
            Load_second_reference=440,
            Somebody_else=60,
            Noise_levels=ROW,
            Choose_sampler=460,
            Without_the_last_level=ROW,
            Flip=ROW,
            Back_to_noise=ROW,
            Paste=ROW,
            Save_result=ROW,
        ),
        (
            *lanes(picture, "Paste"),
            Lane(MODEL, 980, ("Noise levels", "Back to noise")),
            Lane(there, 248, ("Sample",)),
            Lane(("Load second reference", "IMAGE"), 480, (second,)),
            Lane(DECODED, 560, ("Paste",)),
            Lane((TOLD_OF, "latent"), 620, ("Back to noise",)),
            Lane((TOLD_OF, "positive"), 840, ("Back to noise", "Sample")),
            Lane((TOLD_OF, "negative"), 864, ("Back to noise", "Sample")),
            Lane(("Choose sampler", "SAMPLER"), 888, ("Back to noise", "Sample")),
            Lane(("Load place", "MASK"), 1182, ("Somebody else",)),
        ),
    )
