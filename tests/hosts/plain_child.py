"""Cases of `test_comfy_plain.py` inside ComfyUI: a plain checkpoint with text, and a neighbour on
its cross-attention that behaves as IPAdapter's nodes do.
"""

import comfy_boot as boot
import torch
from comfy_boot import TEXT, run, sample

import comfy.ldm.modules.attention as attention  # isort: skip
import comfy.model_management as management  # isort: skip

H, W = 128, 96
ReferenceEncoder = boot.ours("nodes.reference_encoder").ReferenceEncoder
FlowGuidedAttention = boot.ours("nodes.flow_guided_attention").FlowGuidedAttention
rng = torch.Generator().manual_seed(0)


class Pixels:
    """Stands for a VAE: mean colours of 8 x 8 pixels."""

    def encode(self, pictures):
        x = torch.nn.functional.avg_pool2d(pictures.movedim(-1, 1), 8)
        return torch.cat([x, x.mean(1, keepdim=True)], 1) * 8 - 4


class ImagePrompt:
    """What IPAdapter's nodes do: after the text's attention, one over a picture's tokens is added,
    in the exclusive replacement of attn2; and an attn2_patch that lengthens the text.
    """

    def __init__(self, weight=1.0):
        self.weight, self.calls, self.patched = weight, 0, 0
        self.tokens = torch.randn(1, 4, TEXT, generator=torch.Generator().manual_seed(2))

    def __deepcopy__(self, memo):
        return self  # ComfyUI below 0.18 copies patches with every clone; this one counts calls

    def replace(self, q, k, v, extra):
        self.calls += 1
        heads = extra["n_heads"]
        out = attention.optimized_attention(q, k, v, heads)
        keep = torch.tensor([[[float(kind == 0)]] for kind in extra["cond_or_uncond"]])
        keep = keep.repeat_interleave(len(q) // len(keep), 0)
        width = q.shape[-1]
        picture = self.tokens.repeat(1, 1, -(-width // TEXT))[..., :width].expand(len(q), -1, -1)
        added = attention.optimized_attention(q, picture, picture * 2, heads)
        return out + self.weight * keep * added

    def lengthen(self, n, context, value, extra):
        self.patched += 1
        more = torch.cat([context, self.tokens.expand(len(context), -1, -1)], 1)
        return n, more, more

    def apply(self, source):
        patched = source.clone()
        patched.set_model_attn2_patch(self.lengthen)
        unet = source.model.diffusion_model
        places = {
            "input": unet.input_blocks,
            "middle": [unet.middle_block],
            "output": unet.output_blocks,
        }
        for place, blocks in places.items():
            for number, block in enumerate(blocks):
                if any(hasattr(module, "attn2") for module in block.modules()):
                    patched.set_model_attn2_replace(self.replace, place, number)
        return patched


model = boot.plain_model()
picture = torch.rand(1, H, W, 3, generator=rng)
reference = run(ReferenceEncoder, model, Pixels(), image=picture)[0]
positive = [[torch.randn(1, 7, TEXT, generator=rng), {}]]
negative = [[torch.randn(1, 7, TEXT, generator=rng), {}]]
latent = {"samples": torch.zeros(1, 4, H // 8, W // 8)}


def attend(source, strength=1.0):
    options = {"start_percent": 0.0, "end_percent": 1.0, "record_flow": True}
    return run(FlowGuidedAttention, source, reference=reference, strength=strength, **options)


def paint(source):
    return sample(source, positive, negative, latent)


looking, flow = attend(model)
out = {
    "plain": paint(model),
    "strength_0": paint(attend(model, 0.0)[0]),
    "looking": paint(looking),
    "flow": flow.field().xy,
}
neighbour = ImagePrompt()
out["neighbour"] = paint(neighbour.apply(model))
calls = neighbour.calls, neighbour.patched
out["calls"] = torch.tensor(calls)
for name, build in (
    ("before", lambda n: attend(n.apply(model))[0]),
    ("after", lambda n: n.apply(attend(model)[0])),
):
    neighbour = ImagePrompt()
    patched = build(neighbour)
    out[f"neighbour_{name}"] = paint(patched)
    out[f"calls_{name}"] = torch.tensor([neighbour.calls, neighbour.patched])
    options = patched.model_options["transformer_options"]
    replaced = options["patches_replace"]["attn2"].values()
    out[f"slots_{name}"] = torch.tensor([f == neighbour.replace for f in replaced])
    out[f"weak_{name}"] = paint(build(ImagePrompt(0.0)))
out["plain_again"] = paint(model)

load, asked = management.load_models_gpu, []


def spy(models, memory_required=0, **options):
    asked.append(memory_required)
    return load(models, memory_required=memory_required, **options)


management.load_models_gpu = spy
for source in (model, attend(model, 0.0)[0], looking):
    paint(source)
out["asked"] = torch.tensor(asked, dtype=torch.float64)
out["reference_cells"] = torch.tensor(reference.latents.shape[-2:]).prod()
boot.save(out)
