"""MediaPipe's hand landmarker on the hand benchmark's close-ups: `make bench-mediapipe`.

Runs in an environment of its own (`mediapipe.txt` beside this file), because MediaPipe wants an
older NumPy than we do; so it imports nothing of ours. It knows photographs, not renders: how often
it sees a hand at all is the first thing that is told.
"""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

KINDS = ("real", "two", "single")
ENLARGED, LEAST = 6, 0.1  # times, since it was made for larger pictures; confidence

Find = Callable[[np.ndarray], "np.ndarray | None"]


def measure(stored: Mapping[str, np.ndarray], find: Find) -> dict[str, float | None]:
    """Per kind of picture the share `seen` in which a hand is found, and `error`, the mean distance
    of the points that are seen in shares of the close-up's side, over the close-ups of that kind in
    which one is found; None where none is.

    stored: pictures u8 [N, S, S, 3] by kind, and points [N, 21, 3] in pixels. find: a picture to
    its 21 points in shares of the side, or None.
    """
    found = {kind: [find(picture) for picture in stored[kind]] for kind in KINDS}
    points, side = stored["points"], stored["real"].shape[1]
    out: dict[str, float | None] = {"pictures": len(points)}
    for kind in KINDS:
        out[f"seen_{kind}"] = round(float(np.mean([f is not None for f in found[kind]])), 4)
        errors = []
        for where, point in zip(found[kind], points, strict=True):
            seen = point[:, 2] > 0
            if where is not None and seen.any():
                far = np.linalg.norm(where - point[:, :2] / side, axis=1)
                errors.append(far[seen].mean())
        out[f"error_{kind}"] = round(float(np.mean(errors)), 4) if errors else None
    return out


def landmarker() -> Find:
    """MediaPipe's own, with the models that its package carries."""
    import mediapipe

    hands = mediapipe.solutions.hands.Hands(
        static_image_mode=True, max_num_hands=1, min_detection_confidence=LEAST
    )

    def find(picture: np.ndarray) -> np.ndarray | None:
        large = np.ascontiguousarray(picture.repeat(ENLARGED, 0).repeat(ENLARGED, 1))
        seen = hands.process(large).multi_hand_landmarks
        return np.array([[p.x, p.y] for p in seen[0].landmark]) if seen else None

    return find


def main(path: Path) -> None:
    """Reads what `mannequin bench hands` wrote, prints the figures and writes them beside it."""
    if not path.is_file():
        raise SystemExit(
            f"Expected the close-ups of the hand benchmark, there is no {path}. Run "
            f"`mannequin bench hands --out {path.with_suffix('.json')}` first."
        )
    with np.load(path) as stored:
        figures = measure(dict(stored), landmarker())
    path.with_name(f"{path.stem}_mediapipe.json").write_text(json.dumps(figures, indent=1))
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: make bench-mediapipe")
    main(Path(sys.argv[1]))
