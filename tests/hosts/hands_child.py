"""Runs inside ComfyUI's interpreter, see comfy_boot.py: hands first, then the body.

Runs every case of `test_comfy_hands.py` and writes what came out.
"""

from pathlib import Path

import comfy_boot as boot
import folder_paths
import torch
from comfy_boot import comfy_nodes, ours, run
from hands_cases import BRANCH, GROWTH, HANDS, KEYPOINTS, SIZE, close_ups

host = ours("hosts.comfy")
HandPose, HandStage = ours("nodes.hand_pose").HandPose, ours("nodes.hand_stage").HandStage
HandRepair = ours("nodes.hand_repair").HandRepair
OutpaintBlender = ours("nodes.outpaint_blender").OutpaintBlender

folder = Path(boot.MODEL_FILE).parent
for family in ("mannequin_hands", "mannequin_branches"):
    folder_paths.add_model_folder_path(family, str(folder))
with torch.inference_mode():
    model, clip, vae = host.load_inpaint_model(Path(boot.MODEL_FILE))
height, width = SIZE
poses, maps, _, drawing = run(HandPose, width, height, 32, 0.35, 0.3, keypoint_json=KEYPOINTS)
out = {"maps": maps, "drawing": drawing}

staged = run(HandStage, poses, HANDS, 3, 2, 1.5)
out |= {"images": staged[0], "masks": staged[1], "latents": staged[2]["samples"]}
out["latents_of_vae"] = run(HandStage, poses, HANDS, 3, 2, 1.5, vae=vae)[2]["samples"]
g = torch.Generator().manual_seed(2)
picture = torch.rand(1, height, width, 3, generator=g)
out["repaired"], out["repaired_mask"], _ = run(
    HandRepair, picture, poses, HANDS, 3, 2, 1.0, 0.12, 2
)


def painted(on, told=clip, use=vae, cell=1, **changes):
    """What KSampler makes of the blender's model, picture and mask."""
    patched, image, mask, _ = run(OutpaintBlender, on, poses, *close_ups(), **{**GROWTH, **changes})
    with torch.inference_mode():
        both = [comfy_nodes.CLIPTextEncode().encode(told, text)[0] for text in ("a woman", "")]
        given = comfy_nodes.InpaintModelConditioning().encode(*both, image, use, mask, True)
    return boot.sample(patched, *given, steps=4)


out["two_stage"] = painted(model)
out["fixed"] = painted(model, grow=0.0, border=0.0)
out["guided"] = painted(model, pose_branch=BRANCH)
out["again"] = painted(model)

# A plain inpainting checkpoint: nine channels, cells of eight pixels
plain = boot.plain_model(9)
patched, image, mask, _ = run(OutpaintBlender, plain, poses, *close_ups(), **GROWTH)
latent = {
    "samples": torch.randn(1, 4, height // 8, width // 8, generator=g),
    "noise_mask": mask,
}
text = [[torch.randn(1, 7, boot.TEXT, generator=g), {}]]
entries = {"concat_latent_image": latent["samples"], "concat_mask": mask[:, None]}
given = [[text[0][0], entries]]
out["plain_kept"] = boot.sample(patched, given, given, latent, steps=4)
out["plain_start"], out["plain_mask"] = latent["samples"], mask
boot.save(out)
