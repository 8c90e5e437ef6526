"""The list of nodes that ComfyUI asks for."""

from comfy_api.latest import ComfyExtension

from .alignment_preview import AlignmentPreview
from .attention_backend import AttentionBackend
from .diffusers_scheduler import DiffusersScheduler
from .face_encoder import FaceEncoder
from .flow_detail_transfer import FlowDetailTransfer
from .flow_guided_attention import FlowGuidedAttention
from .flow_preview import FlowPreview
from .guidance_preview import GuidancePreview
from .guidance_rescale import GuidanceRescale
from .hand_pose import HandPose
from .hand_repair import HandRepair
from .hand_stage import HandStage
from .load_inpaint_model import LoadInpaintModel
from .load_person_adapter import LoadPersonAdapter
from .load_person_model import LoadPersonModel
from .mask_crop import MaskCrop
from .moa_router import MoARouter
from .outpaint_blender import OutpaintBlender
from .parallel_visual_attention import ParallelVisualAttention
from .paste_crop import PasteCrop
from .person_conditioning import PersonConditioning
from .personalize_face import PersonalizeFace
from .pose_check import PoseCheck
from .pose_guidance import PoseGuidance
from .pose_keypoints import PoseKeypoints
from .recurrent_pose_aligner import RecurrentPoseAligner
from .reference_encoder import ReferenceEncoder
from .route_preview import RoutePreview
from .save_person_adapter import SavePersonAdapter
from .subject import Subject


class MannequinExtension(ComfyExtension):
    async def get_node_list(self):
        return [
            LoadPersonModel,
            ReferenceEncoder,
            PersonConditioning,
            FlowGuidedAttention,
            FlowPreview,
            FlowDetailTransfer,
            DiffusersScheduler,
            GuidanceRescale,
            AttentionBackend,
            LoadInpaintModel,
            LoadPersonAdapter,
            ParallelVisualAttention,
            PersonalizeFace,
            SavePersonAdapter,
            FaceEncoder,
            Subject,
            MoARouter,
            RoutePreview,
            MaskCrop,
            PasteCrop,
            HandPose,
            HandStage,
            OutpaintBlender,
            HandRepair,
            PoseKeypoints,
            RecurrentPoseAligner,
            AlignmentPreview,
            PoseGuidance,
            GuidancePreview,
            PoseCheck,
        ]
