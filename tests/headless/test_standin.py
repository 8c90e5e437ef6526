"""The stand-ins serve our nodes as ComfyUI does, and keep out of the way of the real one."""

import subprocess
import sys
import textwrap

import pytest
import torch

from mannequin.headless import folders, schema, standin
from mannequin.headless.progress import NodeRef, Progress, ProgressBar, reporting
from mannequin.headless.registry import by_id, registry


def python(code):
    """Run code in a fresh interpreter; returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_installed_modules_are_those_that_nodes_import():
    out = python(
        """
        from mannequin.headless import standin
        print(standin.install(), standin.install())
        import comfy.utils, folder_paths
        from comfy_api.latest import ComfyAPISync, ComfyExtension, io, ui
        print(io.Custom("FLOW").Input("flow").io_type, comfy.utils.ProgressBar(3).total)
        ComfyAPISync().execution.set_progress(1, 2)
        """
    )
    assert out.splitlines() == ["True True", "FLOW 3"]


@pytest.mark.parametrize("name", ["folder_paths", "comfy_api", "comfy"])
def test_beside_the_real_comfyui_nothing_is_touched(name):
    out = python(
        f"""
        import sys, types
        real = sys.modules["{name}"] = types.ModuleType("{name}")
        before = set(sys.modules)
        from mannequin.headless import registry, standin
        print(standin.install(), sys.modules["{name}"] is real)
        print({{m for m in set(sys.modules) - before if m.startswith(("comfy", "folder_paths"))}})
        try:
            registry.registry()
        except RuntimeError as error:
            print(error)
        """
    )
    lines = out.splitlines()
    assert lines[:2] == ["False True", "set()"]
    assert "Queue the workflow in ComfyUI" in lines[2]


def test_importing_the_command_line_loads_nothing_heavy():
    out = python(
        """
        import sys
        import mannequin.__main__, mannequin.headless
        heavy = {"torch", "diffusers", "numpy", "PIL", "mannequin.nodes"}
        print(heavy & set(sys.modules))
        """
    )
    assert out == "set()"


def test_all_our_nodes_and_the_core_nodes_are_found():
    found = registry()
    assert {"LoadImage", "SaveImage", "KSampler", "VAEDecode"} < set(found)
    assert all(found[name].GET_SCHEMA().node_id == name for name in found)


def test_load_image_lists_pictures_only():
    options = registry()["LoadImage"].GET_SCHEMA().inputs[0].options
    assert "person_a.png" in options
    assert not [name for name in options if not name.endswith(".png")]


def test_two_nodes_of_one_name_are_refused():
    node = registry()["LoadImage"]
    with pytest.raises(ValueError, match="two node classes are called LoadImage"):
        by_id([node, node])


def test_inputs_refuse_what_comfyui_refuses():
    with pytest.raises(TypeError):
        schema.Int.Input("steps", minimum=1)
    with pytest.raises(TypeError):
        schema.Image.Input("image", default=1)
    with pytest.raises(TypeError):
        schema.Schema(node_id="X", output_node=True)


def test_input_ids_must_be_unique():
    class Twice(schema.ComfyNode):
        @classmethod
        def define_schema(cls):
            return schema.Schema("Twice", inputs=[schema.Image.Input("a"), schema.Mask.Input("a")])

    with pytest.raises(ValueError, match=r"Twice: input ids must be unique, \['a'\] are not"):
        Twice.GET_SCHEMA()


def test_output_nodes_get_what_they_write_into_pictures():
    node = registry()["SaveImage"].GET_SCHEMA()
    assert set(node.hidden) == {schema.Hidden.prompt, schema.Hidden.extra_pnginfo}


def test_progress_reaches_the_listener_of_the_running_node():
    heard = []

    class Ear(Progress):
        def stepped(self, node, value, total):
            heard.append((node.id, value, total))

    bar = ProgressBar(2)
    bar.update(1)
    with reporting(Ear(), NodeRef("7", "t", "c")):
        bar.update(1)
        standin.ComfyAPISync().execution.set_progress(3, 4)
    assert heard == [("7", 2, 2), ("7", 3, 4)]


def test_previews_are_written_to_the_previews_folder(tmp_path):
    with folders.writing_to(tmp_path):
        shown = standin.PreviewImage(torch.zeros(2, 4, 4, 3)).as_dict()
    assert [entry["type"] for entry in shown["images"]] == ["temp", "temp"]
    assert len(list((tmp_path / "previews").glob("*.png"))) == 2


def test_models_are_found_in_added_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "folder_names_and_paths", {})
    elsewhere = tmp_path / "elsewhere"
    models = tmp_path / "models"
    elsewhere.mkdir()
    models.mkdir()
    (elsewhere / "a.safetensors").touch()
    (models / "sub").symlink_to(elsewhere, target_is_directory=True)
    folders.add_model_folder_path("persons", str(tmp_path / "none"))
    folders.add_model_folder_path("persons", str(models), is_default=True)
    assert folders.get_folder_paths("persons") == [str(models), str(tmp_path / "none")]
    (name,) = folders.get_filename_list("persons")
    assert folders.get_full_path_or_raise("persons", name) == str(models / name)
    for wrong in ("b.safetensors", "../elsewhere/a.safetensors", str(elsewhere / "a.safetensors")):
        with pytest.raises(
            FileNotFoundError, match=r"have sub.a\.safetensors\. Put the file there"
        ):
            folders.get_full_path_or_raise("persons", wrong)
