"""Contact sheets: one row per picture kind, labelled."""

from PIL import Image, ImageDraw
from torch import Tensor

MARGIN, SCALE = 90, 2


def contact_sheet(rows: dict[str, Tensor], per_row: int = 12, margin: int = MARGIN) -> Image.Image:
    """rows: title -> pictures [N, H, W, 3] in 0..1, the same N for all; enlarged twofold."""
    count, height, width, _ = next(iter(rows.values())).shape
    blocks = -(-count // per_row)
    h, w = height * SCALE, width * SCALE
    sheet = Image.new("RGB", (margin + per_row * w, blocks * len(rows) * h), "white")
    draw = ImageDraw.Draw(sheet)
    for r, (title, pictures) in enumerate(rows.items()):
        for i, picture in enumerate(pictures):
            block, column = divmod(i, per_row)
            y = (block * len(rows) + r) * h
            pixels = (picture.clamp(0, 1) * 255).round().byte().numpy()
            tile = Image.fromarray(pixels).resize((w, h), Image.NEAREST)
            sheet.paste(tile, (margin + column * w, y))
            draw.text((4, y + h // 2), title, fill="black")
    return sheet
