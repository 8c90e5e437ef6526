"""Pictures as people have them: alpha, greyscale, 16 bits, turned by EXIF, tiny, huge, broken."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from mannequin.headless import folders, pictures
from mannequin.headless.core_nodes import LoadImage, LoadImageMask
from mannequin.headless.schema import HiddenHolder


@pytest.fixture
def save(tmp_path):
    def write(array, mode=None, name="picture.png", **options):
        path = tmp_path / name
        Image.fromarray(array, mode=mode).save(path, **options)
        return path

    return write


def test_rgb_keeps_every_value_and_has_an_empty_mask(save):
    pixels = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    image, mask = pictures.read_picture(save(pixels))
    assert image.dtype == torch.float32
    assert torch.equal(image, torch.from_numpy(pixels.astype(np.float32) / 255)[None])
    assert torch.equal(mask, torch.zeros(1, 64, 64))


def test_alpha_becomes_an_inverted_mask_and_leaves_the_colours(save):
    pixels = np.full((3, 4, 4), 90, np.uint8)
    pixels[0, :, 3] = 0
    pixels[1:, :, 3] = 255
    image, mask = pictures.read_picture(save(pixels))
    assert image.shape == (1, 3, 4, 3)
    assert torch.allclose(image, torch.tensor(90 / 255))
    assert mask[0].tolist() == [[1.0] * 4, [0.0] * 4, [0.0] * 4]


def test_greyscale_becomes_three_equal_channels(save):
    image, _ = pictures.read_picture(save(np.array([[0, 128, 255]], np.uint8)))
    assert torch.allclose(image[0, 0], torch.tensor([0, 128 / 255, 1.0])[:, None].expand(3, 3))


def test_sixteen_bits_span_the_whole_range(save):
    image, _ = pictures.read_picture(save(np.array([[0, 257, 32768, 65535]], np.uint16)))
    assert torch.allclose(image[0, 0, :, 1], torch.tensor([0, 257, 32768, 65535]) / 65535)


def test_floating_point_pixels_are_refused(save):
    path = save(np.ones((2, 2), np.float32), name="depth.tiff")
    with pytest.raises(ValueError, match=r"whole-number pixels.*Save it as"):
        pictures.read_picture(path)


def test_palette_transparency_becomes_a_mask(tmp_path):
    picture = Image.fromarray(np.array([[0, 1]], np.uint8), mode="P")
    picture.putpalette([10, 20, 30, 200, 210, 220])
    picture.save(tmp_path / "palette.png", transparency=1)
    image, mask = pictures.read_picture(tmp_path / "palette.png")
    assert torch.allclose(image[0, 0] * 255, torch.tensor([[10.0, 20, 30], [200, 210, 220]]))
    assert mask.tolist() == [[[0.0, 1.0]]]


def test_exif_rotation_is_undone(save):
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees clockwise
    path = save(pixels, name="phone.jpg", exif=exif.tobytes(), quality=95)
    image, _ = pictures.read_picture(path)
    assert image.shape == (1, 16, 8, 3)
    assert image[0, :8].mean() > 0.95
    assert image[0, 8:].mean() < 0.05


def test_frames_of_a_gif_become_a_batch(tmp_path):
    greys = [Image.new("L", (4, 4), grey) for grey in (0, 255)]
    greys[0].save(tmp_path / "two.gif", save_all=True, append_images=greys[1:])
    image, mask = pictures.read_picture(tmp_path / "two.gif")
    assert image.shape == (2, 4, 4, 3)
    assert mask.shape == (2, 64, 64)
    assert image.mean(dim=(1, 2, 3)).tolist() == [0.0, 1.0]


def test_one_pixel_and_48_megapixels(save):
    assert pictures.read_picture(save(np.zeros((1, 1, 3), np.uint8)))[0].shape == (1, 1, 1, 3)
    huge = save(np.full((6000, 8000), 51, np.uint8), compress_level=1)
    image, _ = pictures.read_picture(huge)
    assert image.shape == (1, 6000, 8000, 3)
    assert image[0, ::600, ::800].unique().tolist() == [pytest.approx(0.2)]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "expected a picture .* is none .0 bytes"),
        (b"<html>not found</html>", "expected a picture .* Save it as PNG or JPEG"),
    ],
)
def test_what_is_no_picture_is_refused(tmp_path, content, says):
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=says):
        pictures.read_picture(path)


def test_a_truncated_picture_is_refused(save):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(noise)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"complete picture.*Save it again"):
        pictures.read_picture(path)


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such file. Check the name"):
        pictures.read_picture(tmp_path / "nobody.png")


def test_load_image_mask_reads_one_channel(save):
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[..., 1], pixels[..., 3] = 102, 51
    path = str(save(pixels))
    assert LoadImageMask.execute(path, "green")[0].unique().tolist() == [pytest.approx(0.4)]
    assert LoadImageMask.execute(path, "alpha")[0].unique().tolist() == [pytest.approx(0.8)]
    assert LoadImageMask.execute(path, "red")[0].shape == (1, 2, 2)


def test_load_image_notices_that_the_file_changed(save):
    path = save(np.zeros((2, 2), np.uint8))
    before = LoadImage.fingerprint_inputs(str(path))
    assert LoadImage.fingerprint_inputs(str(path)) == before
    save(np.zeros((9, 9), np.uint8))
    assert LoadImage.fingerprint_inputs(str(path)) != before


def test_saved_pictures_count_on_and_carry_their_workflow(tmp_path):
    hidden = HiddenHolder(prompt={"1": {"class_type": "X"}}, extra_pnginfo={"workflow": {"a": 1}})
    images = torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1, 1).expand(3, 2, 4, 3)
    with folders.writing_to(tmp_path):
        first = pictures.save_pictures(images, "sub/%width%x%height%", "output", hidden)
        second = pictures.save_pictures(images[:1], "sub/4x2", "output", None)
    assert [entry["filename"] for entry in first] == [f"4x2_0000{i}_.png" for i in (1, 2, 3)]
    assert second == [{"filename": "4x2_00004_.png", "subfolder": "sub", "type": "output"}]
    with Image.open(tmp_path / "sub" / "4x2_00002_.png") as saved:
        assert saved.size == (4, 2)
        assert np.asarray(saved).max() == 127
        assert json.loads(saved.text["prompt"]) == hidden.prompt
        assert json.loads(saved.text["workflow"]) == {"a": 1}


@pytest.mark.parametrize("prefix", ["../out", "/etc/passwd", ""])
def test_a_prefix_cannot_leave_the_output_folder(tmp_path, prefix):
    with (
        folders.writing_to(tmp_path / "out"),
        pytest.raises(ValueError, match="inside the output folder"),
    ):
        pictures.save_pictures(torch.zeros(1, 2, 2, 3), prefix, "output", None)


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (torch.full((1, 2, 2, 3), float("nan")), "holds NaN or infinity"),
        (torch.zeros(2, 2, 3), r"expected images \[B, H, W, 3\], came \[2, 2, 3\]"),
        (torch.zeros(0, 2, 2, 3), "at least one picture"),
    ],
)
def test_what_cannot_be_saved_is_refused(tmp_path, images, says):
    with folders.writing_to(tmp_path), pytest.raises(ValueError, match=says):
        pictures.save_pictures(images, "x", "output", None)
    assert not list(tmp_path.rglob("*.png"))


def test_an_interrupt_while_writing_leaves_no_half_file(tmp_path, monkeypatch):
    def interrupted(path, data):
        with path.open("wb") as file:
            file.write(data[:10])
        raise KeyboardInterrupt

    with folders.writing_to(tmp_path):
        pictures.save_pictures(torch.zeros(1, 2, 2, 3), "x", "output", None)
        monkeypatch.setattr("pathlib.Path.write_bytes", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pictures.save_pictures(torch.ones(1, 2, 2, 3), "x", "output", None)
    assert [path.name for path in tmp_path.iterdir()] == ["x_00001_.png"]
