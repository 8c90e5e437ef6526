"""Hand Stage: hands first, each with its mask, from their poses."""

from comfy.utils import ProgressBar
from comfy_api.latest import io

from ..hosts.hands import load_hand_model
from . import model_files
from .hand_pose import at_least_one, generator_inputs
from .schema import CATEGORY, Hands, build


class HandStage(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return build(
            io.Schema,
            node_id="MannequinHandStage",
            display_name="Hand Stage",
            category=CATEGORY,
            description="Paints a hand and its mask together for every hand pose (stage one of "
            "arXiv 2403.10731). Outpaint Blender lets any model paint the body around them.",
            search_aliases=["hands", "hand generator", "two-stage", "fix hands", "fingers"],
            inputs=[
                Hands.Input(
                    "hands", tooltip="From Hand Pose: how many hands, and how they are held."
                ),
                *generator_inputs(),
                io.String.Input(
                    "skin",
                    default="",
                    tooltip="Colour of the skin as #rrggbb, measured from the face, say. Empty: "
                    "any.",
                ),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="The VAE of the model that paints the body: the latents given out are "
                    "then its own.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The hands, 64x64 pixels each."),
                io.Mask.Output(display_name="masks", tooltip="1 on the hand."),
                io.Latent.Output(display_name="latents", tooltip="Of the images."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, hand_model, **inputs):
        return model_files.fingerprint(model_files.HANDS, hand_model)

    @classmethod
    def execute(cls, hands, hand_model, seed, steps, guidance, skin="", vae=None):
        model = load_hand_model(model_files.path(model_files.HANDS, hand_model))
        bar = ProgressBar(steps, node_id=cls.hidden.unique_id)
        made = model.paint(
            hands,
            seed,
            steps,
            guidance,
            skin_colour(skin),
            after=lambda index, x0: bar.update_absolute(index + 1, steps),
        )
        pictures = at_least_one(made.pictures)
        latents = at_least_one(made.latents) if vae is None else vae.encode(pictures)
        return io.NodeOutput(pictures, at_least_one(made.masks), {"samples": latents})


def skin_colour(text):
    """(red, green, blue), 0..1, of #rrggbb; None of nothing. Raises ValueError."""
    digits = text.strip().removeprefix("#")
    if not digits:
        return None
    try:
        if len(digits) != 6:
            raise ValueError(digits)
        return tuple(value / 255 for value in bytes.fromhex(digits))
    except ValueError as error:
        raise ValueError(
            f"Expected the skin's colour as #rrggbb, #c58c6a for example; got {text!r}. Leave it "
            "empty when it does not matter."
        ) from error
