"""Pictures in and out: files to IMAGE and MASK as ComfyUI reads them, IMAGE to PNG files."""

import json
import os
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from . import folders
from .schema import HiddenHolder

SIXTEEN_BIT = ("I", "I;16", "I;16L", "I;16B", "I;16N")
NO_ALPHA = (64, 64)


def read_frames(path: str | Path) -> list[Image.Image]:
    """All frames of the first frame's size, turned upright by their EXIF orientation.

    Raises FileNotFoundError, or ValueError for a file that is no readable picture.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"expected a picture at {path}, there is no such file. Check the name, or give a path."
        )
    try:
        with Image.open(path) as file:
            # MPO holds the same photo again in other sizes; only the first is the picture.
            pages = [file] if file.format == "MPO" else ImageSequence.Iterator(file)
            frames = [ImageOps.exif_transpose(page.copy()) for page in pages]
    except UnidentifiedImageError as error:
        raise ValueError(
            f"expected a picture (PNG, JPEG, WebP, TIFF, BMP, GIF), {path} is none "
            f"({path.stat().st_size} bytes). Save it as PNG or JPEG."
        ) from error
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise ValueError(
            f"expected a complete picture, {path} cannot be read: {error}. "
            "Save it again as PNG or JPEG."
        ) from error
    return [frame for frame in frames if frame.size == frames[0].size]


def read_picture(path: str | Path) -> tuple[Tensor, Tensor]:
    """IMAGE [B, H, W, 3] and MASK of a file, both float32 in 0..1.

    Greyscale, palettes, CMYK and 16 bits become RGB; the mask is 1 where the picture is
    transparent ([B, H, W]), or zeros [B, 64, 64] when it has no transparency.
    """
    frames = read_frames(path)
    images = [_rgb(frame, path)[None] for frame in frames]
    masks = [1.0 - _alpha(frame)[None] for frame in frames]
    if len(frames) == 1:  # no copy: a photo of 48 megapixels is 576 MB
        return images[0], masks[0]
    return torch.cat(images), torch.cat(masks)


def read_channel(path: str | Path, channel: str) -> Tensor:
    """MASK [1, H, W] in 0..1 of a file's red, green, blue or alpha channel.

    alpha is inverted (1 where transparent); without transparency it is zeros [1, 64, 64].
    """
    frame = read_frames(path)[0]
    if channel == "alpha":
        return 1.0 - _alpha(frame)[None]
    return _rgb(frame, path)[None, ..., ("red", "green", "blue").index(channel)]


def _rgb(frame: Image.Image, path: str | Path) -> Tensor:
    """One frame as [H, W, 3] in 0..1."""
    if frame.mode in SIXTEEN_BIT:
        grey = np.asarray(frame).astype(np.float32)
        if grey.min() < 0 or grey.max() > 65535:
            raise ValueError(
                f"expected values of 0..65535 in the 16-bit picture {path}, it has "
                f"{grey.min():.0f}..{grey.max():.0f}. Save it as 8-bit or 16-bit PNG."
            )
        return torch.from_numpy(grey / 65535)[..., None].repeat(1, 1, 3)
    if frame.mode == "F":
        raise ValueError(
            f"expected whole-number pixels, {path} holds floating-point ones. "
            "Save it as 8-bit or 16-bit PNG."
        )
    return torch.from_numpy(np.array(frame.convert("RGB"))).to(torch.float32).div_(255)


def _alpha(frame: Image.Image) -> Tensor:
    """Opacity [H, W] in 0..1; ones of 64 x 64 for a frame without transparency."""
    if frame.mode == "P" and "transparency" in frame.info:
        frame = frame.convert("RGBA")
    if "A" not in frame.getbands():
        return torch.ones(NO_ALPHA)
    return torch.from_numpy(np.array(frame.getchannel("A"))).to(torch.float32).div_(255)


def save_pictures(
    images: Tensor, prefix: str, kind: str, hidden: HiddenHolder | None, compress_level: int = 4
) -> list[dict[str, str]]:
    """Write [B, H, W, 1|3|4] images, 0..1, as numbered PNGs; returns ComfyUI's `images` entries.

    kind: "output" or "temp". hidden: the node's hidden values; its prompt and extra_pnginfo become
    text chunks. Each file appears complete or not at all. Raises ValueError for NaN pixels or a
    tensor that is no picture.
    """
    if images.ndim != 4 or images.shape[-1] not in (1, 3, 4) or 0 in images.shape:
        raise ValueError(
            f"expected images [B, H, W, 3], came {list(images.shape)}. "
            "Connect an IMAGE that holds at least one picture."
        )
    if not bool(torch.isfinite(images).all()):
        raise ValueError(
            "expected pixels in 0..1, the picture holds NaN or infinity. "
            "Lower cfg or the strengths before it, or try another seed."
        )
    directory = folders.get_temp_directory() if kind == "temp" else folders.get_output_directory()
    height, width = images.shape[1:3]
    folder, stem, counter, subfolder, _ = folders.get_save_image_path(
        prefix, directory, width, height
    )
    metadata = _metadata(hidden)
    entries = []
    for index, image in enumerate(images):
        pixels = (255 * image.float().cpu().numpy()).clip(0, 255).astype(np.uint8)
        picture = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
        name = f"{stem.replace('%batch_num%', str(index))}_{counter + index:05}_.png"
        _write_png(picture, Path(folder) / name, metadata, compress_level)
        entries.append({"filename": name, "subfolder": subfolder, "type": kind})
    return entries


def _metadata(hidden: HiddenHolder | None) -> PngInfo:
    info = PngInfo()
    if hidden and hidden.prompt is not None:
        info.add_text("prompt", json.dumps(hidden.prompt))
    for key, value in ((hidden and hidden.extra_pnginfo) or {}).items():
        info.add_text(key, json.dumps(value))
    return info


def _write_png(picture: Image.Image, path: Path, metadata: PngInfo, compress_level: int) -> None:
    """Write beside the target and rename, so that an interrupt leaves the old state or the new."""
    encoded = BytesIO()
    picture.save(encoded, format="PNG", pnginfo=metadata, compress_level=compress_level)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(encoded.getbuffer())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
