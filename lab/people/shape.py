"""The rest shape of one person, from sliders."""

import numpy as np

from .body import Body


def _mix(weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Sum of rows [n, k] by weights [n], one after the other: a matrix product's rounding would
    depend on the machine and its number of threads, and pictures with it."""
    out = np.zeros(rows.shape[1])
    for weight, row in zip(weights, rows, strict=True):
        if weight != 0:
            out += float(weight) * row.astype(np.float64)
    return out


def rest_shape(
    body: Body, phenotype: dict[str, float], details: dict[str, float], expression: dict[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Naked rest body of one person: vertices [NB, 3] and bone heads [bones, 3], in metres.

    The trunk is built on the evened-out template, like the cloth that is painted on it.
    `phenotype` takes anny's global sliders (0..1), `details` its local changes (-1..1) and
    `expression` its facial actions (0..1); an unknown name raises KeyError.
    """
    import torch
    from anny.models.phenotype import phenotype_blendshape_weights

    model = body.model
    known = {name: i for i, name in enumerate(model.local_change_labels)}
    if unknown := set(details) - set(known):
        raise KeyError(f"anny has no local change named {sorted(unknown)[0]!r}")
    sliders = torch.tensor([[phenotype.get(k, 0.5) for k in model.phenotype_labels]])
    with torch.no_grad():
        corners = phenotype_blendshape_weights(
            sliders,
            model.phenotype_labels,
            model.anchors,
            model.stacked_phenotype_blend_shapes_mask,
            extrapolate=model.extrapolate_phenotypes,
        )[0].numpy()
    globally = _mix(corners, model.phenotype_blendshape_projection.numpy())
    weights = np.zeros(len(body.shapes))
    weights[: len(globally)] = globally
    labels = list(model.facial_action_labels)
    for name, value in expression.items():
        weights[len(globally) + labels.index(name)] = value
    first = len(globally) + len(labels)
    for name, value in details.items():
        weights[first + 2 * known[name] + (value < 0)] = abs(value)
    moved = _mix(weights, body.shapes).reshape(-1, 3)
    n = body.vertex_count
    return body.template + moved[:n], body.template_heads + moved[n:]


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Area-weighted unit normals, [n, 3]."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    across = np.cross(b - a, c - a)
    corners = faces.T.ravel()
    normals = np.stack(
        [np.bincount(corners, np.tile(across[:, j], 3), len(vertices)) for j in range(3)], 1
    )
    return normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12)
