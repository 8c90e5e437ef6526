"""Where the families' files are looked for, with the embedded engine's folder_paths."""

from pathlib import Path

import pytest

from mannequin.headless import folders, standin

standin.install()

from mannequin.nodes import model_files  # noqa: E402  it needs the stand-ins


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A folder of the user's, given for `mannequin` as extra_model_paths.yaml would, and alone."""
    paths = {name: ([], set()) for name in model_files.SUBFOLDERS}
    paths[model_files.PERSON] = ([str(tmp_path)], set())
    monkeypatch.setattr(folders, "folder_names_and_paths", paths)
    monkeypatch.setattr(folders, "models_dir", str(tmp_path / "models"))
    monkeypatch.setattr(model_files, "SHIPPED", tmp_path / "pack")
    for name in ("mine.safetensors", "inpaint/base.safetensors", "faces/net.safetensors",
                 "adapters/anna.safetensors", "routers/people.safetensors", "published.pth",
                 "people/more.safetensors", "inpaint/notes.txt",
                 "aligners/k3.safetensors", "poses/head.safetensors"):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    model_files.register()
    return tmp_path


def test_every_family_is_found_below_the_persons_folder(root):
    assert model_files.names(model_files.INPAINT) == ["base.safetensors"]
    assert model_files.names(model_files.FACES) == ["net.safetensors"]
    assert model_files.names(model_files.ADAPTERS) == ["anna.safetensors"]
    assert model_files.names(model_files.ROUTERS) == ["people.safetensors"]
    assert model_files.names(model_files.ALIGNERS) == ["k3.safetensors"]
    assert model_files.names(model_files.POSES) == ["head.safetensors"]
    path = model_files.path(model_files.INPAINT, "base.safetensors")
    assert path == root / "inpaint" / "base.safetensors"


def test_a_person_model_is_in_no_other_familys_folder(root):
    found = model_files.names(model_files.PERSON)
    assert found == ["mine.safetensors", str(Path("people/more.safetensors")), "published.pth"]


def test_the_users_folders_come_before_models_and_the_packs(root):
    folder = folders.get_folder_paths(model_files.ADAPTERS)
    wanted = (root / "adapters", root / "models/mannequin/adapters", root / "pack/adapters")
    assert folder == [str(path) for path in wanted]


def test_a_changed_file_has_another_fingerprint(root):
    name = "base.safetensors"
    before = model_files.fingerprint(model_files.INPAINT, name)
    assert before == model_files.fingerprint(model_files.INPAINT, name)
    (root / "inpaint" / name).write_text("another, longer text")
    assert before != model_files.fingerprint(model_files.INPAINT, name)
    with pytest.raises(FileNotFoundError, match=r"gone.safetensors"):
        model_files.path(model_files.INPAINT, "gone.safetensors")
