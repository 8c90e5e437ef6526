"""The skirt and the long hair: grids of rings, hung on the body's skeleton."""

import numpy as np

SHELL_ACROSS, SHELL_DOWN = 48, 14


def shell_faces(closed: bool) -> np.ndarray:
    """Triangles of a grid of SHELL_DOWN rings of SHELL_ACROSS vertices, [n, 3]."""
    columns = SHELL_ACROSS if closed else SHELL_ACROSS - 1
    row, column = np.meshgrid(np.arange(SHELL_DOWN - 1), np.arange(columns), indexing="ij")
    a = row * SHELL_ACROSS + column
    b = row * SHELL_ACROSS + (column + 1) % SHELL_ACROSS
    below_a, below_b = a + SHELL_ACROSS, b + SHELL_ACROSS
    return np.stack([a, below_a, b, b, below_a, below_b], -1).reshape(-1, 3)


def shell_uv(closed: bool) -> np.ndarray:
    """Chart of a shell: u around and v down, both 0..1, per triangle corner [n, 3, 2]."""
    columns = SHELL_ACROSS if closed else SHELL_ACROSS - 1
    row, column = np.meshgrid(np.arange(SHELL_DOWN - 1), np.arange(columns), indexing="ij")
    u0, u1 = column / columns, (column + 1) / columns
    v0, v1 = row / (SHELL_DOWN - 1), (row + 1) / (SHELL_DOWN - 1)
    corners = [(u0, v0), (u0, v1), (u1, v0), (u1, v0), (u0, v1), (u1, v1)]
    return np.stack([np.stack(c, -1) for c in corners], 2).reshape(-1, 3, 2)


def shell_weights(bones: tuple[str, ...]) -> np.ndarray:
    """Bone weights of the skirt, then of the long hair: [2 * SHELL, bones]."""
    turn = np.linspace(-np.pi, np.pi, SHELL_ACROSS, endpoint=False)
    down = np.linspace(0, 1, SHELL_DOWN)[:, None]
    skirt = np.zeros((SHELL_DOWN, SHELL_ACROSS, len(bones)))
    with_legs = np.clip(down * 1.3 - 0.1, 0, 0.85)
    left = 1 / (1 + np.exp(-np.sin(turn) / 0.2))[None]
    skirt[..., bones.index("root")] = 1 - with_legs
    skirt[..., bones.index("upperleg01.L")] = with_legs * left
    skirt[..., bones.index("upperleg01.R")] = with_legs * (1 - left)
    hair = np.zeros_like(skirt)
    with_back = np.clip((down - 0.35) * 1.3, 0, 0.8) + 0 * turn[None]
    hair[..., bones.index("head")] = 1 - with_back
    hair[..., bones.index("spine01")] = with_back
    return np.concatenate([skirt, hair]).reshape(-1, len(bones))
