"""The body: anny's mesh, its surface regions and its rest shapes, read once into plain numpy.

Axes of the rest body, in metres: x to the person's left, y to the back, z up.  "Template" means
anny's average body; template coordinates name a place on the surface whoever wears it, which is
what garments are cut and painted in.
"""

import warnings
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import sparse

from .shells import SHELL_ACROSS, SHELL_DOWN, shell_faces, shell_uv, shell_weights

ATLAS = 1024
PARTS = (
    "torso",
    "upper leg L",
    "upper leg R",
    "lower leg L",
    "lower leg R",
    "foot L",
    "foot R",
    "upper arm L",
    "upper arm R",
    "lower arm L",
    "lower arm R",
    "hand L",
    "hand R",
    "head",
    "skirt",
    "long hair",
)
TORSO, FOOT_L, UPPER_ARM_L, HAND_L, HAND_R, HEAD, SKIRT, LONG_HAIR = 1, 6, 8, 12, 13, 14, 15, 16
_BONE_PARTS = (
    ("upperleg", 2),
    ("lowerleg", 4),
    ("foot", 6),
    ("toe", 6),
    ("upperarm", 8),
    ("lowerarm", 10),
    ("wrist", 12),
    ("finger", 12),
    ("metacarpal", 12),
)
_COCO = (
    "nose",
    None,
    "right_shoulder",
    "right_elbow",
    "right_wrist",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "right_hip",
    "right_knee",
    "right_ankle",
    "left_hip",
    "left_knee",
    "left_ankle",
    "right_eye",
    "left_eye",
    "right_ear",
    "left_ear",
)


@dataclass(frozen=True)
class Body:
    """Constants of the body, followed by those of its two shells, the skirt and the long hair.

    V is the number of vertices and F of triangles, shells included; NB, NF those of the bare body.
    """

    faces: np.ndarray  # [F, 3] vertex indices
    face_uv: np.ndarray  # [F, 3, 2] atlas coordinates of the corners, 0..1
    face_part: np.ndarray  # [F] part index 1..16
    on_face: np.ndarray  # [F] skin of the head that carries face, ears and scalp
    on_eye: np.ndarray  # [F] eyeballs
    in_mouth: np.ndarray  # [F] teeth, tongue, inside of the mouth
    face_shell: np.ndarray  # [F] 0 body, 1 skirt, 2 long hair
    template: np.ndarray  # [NB, 3] template coordinates, evened out on the trunk
    vertex_part: np.ndarray  # [NB]
    vertex_face_uv: np.ndarray  # [NB, 2] atlas pixels on the face island
    on_head: np.ndarray  # [NB] vertex belongs to the face island
    along_arm: np.ndarray  # [NB] 0 shoulder, 1 elbow, 2 wrist
    eye: np.ndarray  # [3] centre of the left eyeball in the template
    skin_weights: sparse.csr_matrix  # [V, bones]
    smoothing: sparse.csr_matrix  # [NB, NB] mean of the neighbours
    coco: np.ndarray  # [18, NB] regressor of the COCO-18 joints
    finger_tips: np.ndarray  # [2, 5] vertex indices, left then right
    bones: tuple[str, ...]
    parents: tuple[int, ...]
    template_heads: np.ndarray  # [bones, 3]
    model: object  # anny's model, for blend-shape coefficients
    shapes: np.ndarray  # [C, NB * 3 + bones * 3] blend shapes of vertices and bone heads

    @property
    def vertex_count(self) -> int:
        return len(self.template)

    def bone(self, name: str) -> int:
        return self.bones.index(name)


def _part_of_bone(label: str) -> int:
    for prefix, part in _BONE_PARTS:
        if label.startswith(prefix):
            return part + (label.endswith(".R"))
    return HEAD if label.startswith(("head", "eye")) else TORSO


def along_arm(points: np.ndarray, heads: np.ndarray, bones: tuple[str, ...]) -> np.ndarray:
    """Position along the arm, [n]: 0 at the shoulder, 1 at the elbow, 2 at the wrist.

    `points` [n, 3] and `heads` [bones, 3] are template coordinates; both arms share one scale.
    """
    mirrored = np.concatenate([np.abs(points[:, :1]), points[:, 1:]], 1)
    shoulder, elbow, wrist = (
        heads[bones.index(b)] for b in ("upperarm01.L", "lowerarm01.L", "wrist.L")
    )
    upper, lower = elbow - shoulder, wrist - elbow
    above = (mirrored - shoulder) @ upper / (upper @ upper)
    below = (mirrored - elbow) @ lower / (lower @ lower)
    return np.where(above < 1, above, 1 + np.clip(below, 0, None))


def _even_out(template: np.ndarray, trunk: np.ndarray, mean: sparse.csr_matrix) -> np.ndarray:
    """Spreads the chest's crowded vertices, so that cloth painted by place lies straight."""
    out, mean = template.copy(), mean[np.flatnonzero(trunk)]
    for _ in range(24):
        out[trunk] = mean @ out
    return out


def _neighbour_mean(faces: np.ndarray, count: int) -> sparse.csr_matrix:
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.concatenate([edges, edges[:, ::-1]])
    graph = sparse.coo_matrix((np.ones(len(edges)), edges.T), (count, count)).tocsr()
    graph.data[:] = 1
    degree = np.maximum(np.asarray(graph.sum(1)).ravel(), 1)
    return sparse.diags(1 / degree) @ graph


@lru_cache(maxsize=1)
def load_body() -> Body:
    """Builds the body from anny (0.5 s from its cache; the first time on a machine, minutes)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import anny
        import torch

        model = anny.Anny(local_changes="default", facial_actions="all").to(dtype=torch.float32)
        regressor = anny.KeypointsRegressor.coco(model)
    bones, parents = tuple(model.bone_labels), tuple(model.bone_parents)
    template, heads = model.template_vertices.numpy(), model.template_bone_heads.numpy()
    faces, count = model.faces.numpy().astype(np.int64), len(template)
    uv = model.texture_coordinates.numpy()[model.face_texture_coordinate_indices.numpy()]
    uv = np.stack([uv[..., 0], 1 - uv[..., 1]], -1).astype(np.float64)
    pixels = uv * ATLAS
    weights, indices = model.vertex_bone_weights.numpy(), model.vertex_bone_indices.numpy()
    strongest = indices[np.arange(count), weights.argmax(1)]
    vertex_part = np.array([_part_of_bone(b) for b in bones])[strongest]

    part = vertex_part[faces[:, 0]]
    x, y = pixels.mean(1).T
    trunk = np.isin(part, (TORSO, HEAD)) & np.isin(vertex_part[faces[:, 1]], (TORSO, HEAD))
    on_face = (x > 640) & (y > 160) & (y < 880) & trunk & ~((x < 785) & (y < 262))
    on_eye = (y < 80) & (x > 750) & trunk
    in_mouth = (((y < 90) & (x > 620) & (x < 680)) | ((x > 770) & (y > 880))) & trunk
    part = np.where(on_face | on_eye | in_mouth, HEAD, part)
    vertex_face_uv = np.zeros((count, 2))
    vertex_face_uv[faces[on_face].ravel()] = pixels[on_face].reshape(-1, 2)
    on_head = np.zeros(count, bool)
    on_head[faces[on_face].ravel()] = True
    left_eye = np.unique(faces[on_eye])
    left_eye = left_eye[template[left_eye, 0] > 0]

    smoothing = _neighbour_mean(faces, count)
    template = template.astype(np.float64)
    trunk = (vertex_part == TORSO) & ~on_head & (template[:, 2] > 0.0) & (template[:, 2] < 0.5)
    template = _even_out(template, trunk, smoothing)

    tips = np.zeros((2, 5), np.int64)
    for s, side in enumerate("LR"):
        for k in range(5):
            last, before = (bones.index(f"finger{k + 1}-{j}.{side}") for j in (3, 2))
            own = np.flatnonzero(strongest == last)
            tips[s, k] = own[
                ((template[own] - heads[last]) @ (heads[last] - heads[before])).argmax()
            ]
    joints = regressor.regression_weights.numpy()
    names = list(regressor.labels)
    neck = (joints[names.index("left_shoulder")] + joints[names.index("right_shoulder")]) / 2
    coco = np.stack([neck if n is None else joints[names.index(n)] for n in _COCO])

    own = sparse.coo_matrix(
        (weights.ravel(), (np.repeat(np.arange(count), weights.shape[1]), indices.ravel())),
        (count, len(bones)),
    )
    skirt, hair = shell_faces(True), shell_faces(False)
    shell = SHELL_ACROSS * SHELL_DOWN
    none = np.zeros(len(skirt) + len(hair), bool)
    shapes = np.concatenate(
        [
            model.blendshapes.numpy().reshape(len(model.blendshapes), -1),
            model.bone_heads_blendshapes.numpy().reshape(len(model.blendshapes), -1),
        ],
        1,
    )
    return Body(
        faces=np.concatenate([faces, skirt + count, hair + count + shell]),
        face_uv=np.concatenate([uv, shell_uv(True), shell_uv(False)]),
        face_part=np.concatenate([part, np.full(len(skirt), SKIRT), np.full(len(hair), LONG_HAIR)]),
        on_face=np.concatenate([on_face, none]),
        on_eye=np.concatenate([on_eye, none]),
        in_mouth=np.concatenate([in_mouth, none]),
        face_shell=np.repeat([0, 1, 2], [len(faces), len(skirt), len(hair)]),
        template=template,
        vertex_part=vertex_part,
        vertex_face_uv=vertex_face_uv,
        on_head=on_head,
        along_arm=along_arm(template, heads, bones),
        eye=template[left_eye].mean(0),
        skin_weights=sparse.vstack([own, sparse.csr_matrix(shell_weights(bones))]).tocsr(),
        smoothing=smoothing,
        coco=coco,
        finger_tips=tips,
        bones=bones,
        parents=parents,
        template_heads=heads.astype(np.float64),
        model=model,
        shapes=np.ascontiguousarray(shapes),
    )
