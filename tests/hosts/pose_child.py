"""Runs inside ComfyUI's interpreter, see comfy_boot.py: poses aligned, guided and checked.

Runs every case of `test_comfy_poses.py` and writes what came out.
"""

from pathlib import Path

import comfy_boot as boot
import folder_paths
import torch
from comfy_boot import comfy_nodes, core, ours, run
from pose_cases import ALIGNED, CHECKED, GUIDED, LOOKED, dense_pose, picture, target

folder = Path(boot.MODEL_FILE).parent
for family in ("mannequin_aligners", "mannequin_poses"):
    folder_paths.add_model_folder_path(family, str(folder))
Encoder = ours("nodes.reference_encoder").ReferenceEncoder
Conditioning = ours("nodes.person_conditioning").PersonConditioning
Attention = ours("nodes.flow_guided_attention").FlowGuidedAttention
Aligner = ours("nodes.recurrent_pose_aligner").RecurrentPoseAligner
Preview = ours("nodes.alignment_preview").AlignmentPreview
Guidance, Check = ours("nodes.pose_guidance").PoseGuidance, ours("nodes.pose_check").PoseCheck
Report = ours("nodes.guidance_preview").GuidancePreview

model, vae = boot.person_model()
(reference,) = run(Encoder, model, vae, picture(), dense_pose(20))
positive, negative, latent, _ = run(Conditioning, model, vae, dense_pose(30))
told = (positive, negative, latent)


def painted(on, given=told, **how):
    return boot.sample(on, *given, steps=4, **how)


def aligned(on=model, given=told, **changes):
    return run(Aligner, on, reference, given[0], **{**ALIGNED, **changes})


def guided(on, keypoints=None, **changes):
    return run(Guidance, on, target=keypoints or target(), **{**GUIDED, **changes})


out = {}
looking = run(Attention, model, reference, **LOOKED)[0]
out["plain"] = painted(looking)
out["no_iterations"] = painted(aligned(iterations=0, record_flow=False)[0])
out["no_strength"] = painted(aligned(strength=0.0)[0])
out["not_looking"] = painted(run(Attention, model, reference, **{**LOOKED, "strength": 0.0})[0])

moved, alignment, flow = aligned()
out["aligned"] = painted(moved)
out["flow"], out["confidence"] = alignment.flow, alignment.confidence
out["looked"] = flow.field().xy
with torch.inference_mode():
    decoded = vae.decode(out["aligned"])
out["sheet"] = run(Preview, alignment, decoded, reference)[0]
out["once"] = painted(aligned(reference_run="once")[0])

pulled, report = guided(looking)
out["guided"] = painted(pulled)
out["errors"] = torch.tensor([one.keypoint_error for one in report.steps])
out["changes"] = torch.tensor([one.change for one in report.steps])
out["not_guided"] = painted(guided(looking, scale=0.0)[0])
both, report = guided(moved)
out["both"] = painted(both)
out["both_again"] = painted(both)
out["steps"] = torch.tensor([one.index for one in report.steps])
out["plot"], text = run(Report, report, decoded)
assert len(text.splitlines()) >= 4, text

# Two poses in a batch, each with its own target
poses = torch.cat([dense_pose(30), dense_pose(14)])
pair = run(Conditioning, model, vae, poses)[:3]
two = guided(aligned(given=pair)[0], target(48.0) + target(30.0))[0]
out["two"] = painted(two, pair)

# Among other nodes: a rescaled guidance, and a mask that keeps the left half
rescaled = core("nodes_model_advanced.RescaleCFG")()
out["rescaled"] = painted(rescaled.patch(both, 0.5)[0])
half = torch.ones(1, 128, 96)
half[:, :, :48] = 0
kept = {"samples": vae.encode(picture()), "noise_mask": half}
out["masked"], out["kept"] = painted(both, (positive, negative, kept)), kept["samples"]

overlay, pck, error, _ = run(Check, decoded, target(), vae=vae, **CHECKED)
out["overlay"], out["check"] = overlay, torch.tensor([pck, error])

folder_paths.set_input_directory(str(boot.ROOT / "workflows" / "inputs"))
out["frames"] = comfy_nodes.LoadImage().load_image("person_a_nine_poses.png")[0]

# Models that nothing was trained for
plain = boot.plain_model(4)
reasons = []
for refused in (lambda: aligned(plain), lambda: guided(plain)):
    try:
        refused()
    except ValueError as error:
        reasons.append(str(error))
expected = ("No aligner was trained for this model", "This pose model reads latents of mannequin")
out["refused"] = torch.tensor([float(a in b) for a, b in zip(expected, reasons, strict=True)])
boot.save(out)
