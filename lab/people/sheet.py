"""Contact sheets: pictures beside dense pose, labels, and what the exact flow carries over."""

import numpy as np
from scipy.ndimage import map_coordinates

from .sets import PersonSet

PALETTE = np.array(
    [
        (0, 0, 0),
        (214, 170, 140),
        (110, 74, 40),
        (220, 50, 47),
        (50, 80, 220),
        (90, 90, 90),
        (245, 215, 70),
        (0, 200, 200),
        (200, 0, 200),
    ],
    np.uint8,
)
"""Colour of each label, RGB."""


def warp(source: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Source pixels u8 [H, W, 3] fetched through flow [h, w, 2] (-1..1): u8 [h, w, 3], 0 at NaN."""
    height, width = source.shape[:2]
    known = np.isfinite(flow[..., 0])
    filled = np.where(known[..., None], flow, 0)
    column = (filled[..., 0] + 1) * width / 2 - 0.5
    row = (filled[..., 1] + 1) * height / 2 - 0.5
    channels = [
        map_coordinates(source[..., c].astype(float), (row, column), order=1, mode="nearest")
        for c in range(3)
    ]
    return np.where(known[..., None], np.stack(channels, -1).round(), 0).astype(np.uint8)


def sheet_row(person: PersonSet) -> np.ndarray:
    """One set as a strip: its four pictures, dense pose and labels of the first, then the second
    picture and the first garment on Q as the flow rebuilds them from the first picture."""
    pairs = person.pairs.tolist()
    strip = [*person.image, person.dense_pose[0], PALETTE[person.label[0]]]
    for target in (1, 3):
        k = pairs.index([0, target])
        strip.append(warp(person.image[0], person.flow[k]) * person.visible[k][..., None])
    return np.concatenate(strip, 1)


def contact_sheet(rows: list[np.ndarray], columns: int = 2) -> np.ndarray:
    """Strips of equal shape [H, W, 3] laid out in columns."""
    rows = rows + [np.zeros_like(rows[0])] * (-len(rows) % columns)
    lines = [np.concatenate(rows[i : i + columns], 1) for i in range(0, len(rows), columns)]
    return np.concatenate(lines, 0)
