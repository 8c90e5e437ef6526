"""Adapters, faces and models that do not belong together: each error says what to do instead."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from mannequin.headless import NodeError, folders, run_workflow
from mannequin.hosts import diffusers
from mannequin.hosts.adapters import write_adapter
from mannequin.hosts.lending import layers
from mannequin.methods.person_adapter import new_adapter
from mannequin.methods.pva import FaceEmbedding, Projections

PVA, LOAD = "MannequinParallelVisualAttention", "MannequinLoadPersonAdapter"


@pytest.fixture(scope="module")
def listed(nodes, tmp_path_factory):
    """A folder whose adapters Load Person Adapter lists."""
    folder = tmp_path_factory.mktemp("odd")
    folders.add_model_folder_path("mannequin_adapters", str(folder))
    return folder


@pytest.fixture(scope="module")
def base(inpaint_parts):
    return layers(diffusers, inpaint_parts[0])


@pytest.fixture
def model(inpaint_parts):
    return inpaint_parts[0]


def faces(source="mannequin-tiny-face", dimension=12, tokens=1):
    vectors = torch.randn(2, tokens, dimension, generator=torch.Generator().manual_seed(0))
    return FaceEmbedding(
        vectors, vectors.flip(-1), source, torch.rand(2, 64, 64, 3), torch.ones(2, 64, 64)
    )


def image_prompt_file(base, dimension=20, width=32, latents=3):
    """What an IP-Adapter plus file for this model would hold: down, up, middle by odd numbers."""
    g = torch.Generator().manual_seed(6)
    order = sorted(base, key=lambda name: ("down", "up", "mid").index(name.split(".")[0]))
    text = base[order[0]].to_k.shape[1]
    shapes = {
        "latents": (1, latents, width),
        "proj_in.weight": (width, dimension),
        "proj_in.bias": (width,),
        "proj_out.weight": (text, width),
        "proj_out.bias": (text,),
        "norm_out.weight": (text,),
        "norm_out.bias": (text,),
        "layers.0.0.norm1.weight": (width,),
        "layers.0.0.norm1.bias": (width,),
        "layers.0.0.norm2.weight": (width,),
        "layers.0.0.norm2.bias": (width,),
        "layers.0.0.to_q.weight": (128, width),
        "layers.0.0.to_kv.weight": (256, width),
        "layers.0.0.to_out.weight": (width, 128),
        "layers.0.1.0.weight": (width,),
        "layers.0.1.0.bias": (width,),
        "layers.0.1.1.weight": (4 * width, width),
        "layers.0.1.3.weight": (width, 4 * width),
    }
    out = {f"image_proj.{name}": torch.randn(shape, generator=g) for name, shape in shapes.items()}
    for number, layer in enumerate(order):
        for room in ("to_k", "to_v"):
            shape = getattr(base[layer], room).shape
            name = f"ip_adapter.{2 * number + 1}.{room}_ip.weight"
            out[name] = torch.randn(shape, generator=g)
    return out


def test_an_adapter_of_a_model_with_other_layers(execute, model, base, listed):
    fewer = dict(sorted(base.items())[:-1])
    wider = {
        layer: Projections(*(torch.zeros(t.shape[0], 2 * t.shape[1]) for t in vars(own).values()))
        for layer, own in base.items()
    }
    for name, other, message in (
        ("fewer", fewer, r"with \d+ cross-attention layers; this model has \d+\. Use the model"),
        ("wider", wider, r"SD9 .*, and .*\.to_k is \[\d+, 192\] there and \[\d+, 96\] here\. Use"),
    ):
        made = new_adapter(other, "SD9", "mannequin-tiny-face", 12)
        write_adapter(listed / f"{name}.safetensors", made)
        adapter, about = execute(LOAD, adapter_name=f"{name}.safetensors")
        assert "for: SD9" in about
        with pytest.raises(ValueError, match="This adapter was trained for SD9") as error:
            execute(PVA, model=model, adapter=adapter, faces=faces())
        assert error.match(message)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (faces("arcface", 512), r"faces of mannequin-tiny-face \(12 .*got arcface with 512\."),
        (
            faces("clip-vision-12"),
            r"faces of mannequin-tiny-face \(12 .*got clip-vision-12 with 12",
        ),
    ],
)
def test_faces_of_another_network(execute, model, adapter, given, message):
    with pytest.raises(ValueError, match=f"{message}.*Choose .* in Face Encoder"):
        execute(PVA, model=model, adapter=adapter, faces=given)


def test_an_image_prompt_adapter_reads_image_tokens(execute, model, base, listed):
    save_file(image_prompt_file(base), listed / "plus-face.safetensors")
    adapter, about = execute(LOAD, adapter_name="plus-face.safetensors")
    assert "faces: clip-vision-20" in about and "person: any" in about
    tokens = faces("clip-vision-20", 20, tokens=5)
    patched, _ = execute(PVA, model=model, adapter=adapter, faces=tokens)
    (method,) = patched.methods
    assert method.tokens.shape == (1, 6, 96) and method.tokens.isfinite().all()
    with pytest.raises(ValueError, match=r"faces of clip-vision-20 \(20 .*got mannequin-tiny-face"):
        execute(PVA, model=model, adapter=adapter, faces=faces())


def test_files_that_are_no_adapters(execute, adapter_file, base, listed):
    whole = adapter_file.read_bytes()
    plain = {k: t for k, t in image_prompt_file(base).items() if "latents" not in k}
    write = {
        "half": lambda path: path.write_bytes(whole[: len(whole) // 2]),
        "empty": lambda path: path.write_bytes(b""),
        "lora": lambda path: save_file({"lora.down.weight": torch.zeros(2, 2)}, path),
        "plain": lambda path: save_file(plain, path),
        "bare": lambda path: save_file(
            load_file(adapter_file), path, {"mannequin": '{"family": "mannequin-tiny-face"}'}
        ),
        "thin": lambda path: save_file(
            {k: t for k, t in load_file(adapter_file).items() if not k.startswith("identity.")},
            path,
            _metadata(adapter_file),
        ),
    }
    for name, message in (
        ("half", "is not a whole safetensors file .*truncated.* Copy or save it again"),
        ("empty", "is not a whole safetensors file .*truncated.* Copy or save it again"),
        ("lora", "Expected an adapter of this pack or an IP-Adapter plus file.*got a file with"),
        ("plain", "Expected an adapter of this pack or an IP-Adapter plus file.*Choose another"),
        ("bare", "expected a file of the family 'pva'; got 'mannequin-tiny-face'.*Choose a file"),
        ("thin", r"its identity encoder is incomplete .*Save it again"),
    ):
        path = listed / f"{name}.safetensors"
        write[name](path)
        with pytest.raises(ValueError, match=f"(?s){message}") as error:
            execute(LOAD, adapter_name=path.name)
        assert str(path) in str(error.value)


def _metadata(path):
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return file.metadata()


def test_a_missing_adapter(execute, adapter_file):
    with pytest.raises(FileNotFoundError, match=r"the folders .* have .*random-pva"):
        execute(LOAD, adapter_name="gone.safetensors")


def test_a_person_model_reads_no_text(execute, person_model, adapter):
    message = "reads text; this one has no cross-attention.*Connect the MODEL of Load Inpaint Model"
    with pytest.raises(ValueError, match=message):
        execute(PVA, model=person_model[0], adapter=adapter, faces=faces())


def test_learning_on_what_does_not_fit(prompt_of, random_files, listed, base, tmp_path):
    """A person model, faces of another network, a start after its end: each is said at once."""

    def tried(change, **settings):
        prompt = prompt_of("personalize_face")
        by_title = {node["_meta"]["title"]: node for node in prompt.values()}
        for node in prompt.values():
            node["inputs"].update(random_files.get(node["class_type"], {}))
        change(prompt, {title: node["inputs"] for title, node in by_title.items()})
        given = {"Personalize face.steps": 1, "Sample.steps": 1, **settings}
        return run_workflow(prompt, given, tmp_path)

    def person_model(prompt, inputs):
        loader = {"model_name": random_files["MannequinLoadPersonModel"]["model_name"]}
        prompt["p"] = {"class_type": "MannequinLoadPersonModel", "inputs": loader}
        prompt["p"]["_meta"] = {"title": "Load person model"}
        inputs["Personalize face"]["model"] = ["p", 0]

    def another_network(prompt, inputs):
        write_adapter(listed / "arcface.safetensors", new_adapter(base, "tiny", "arcface", 512))
        inputs["Load person adapter"]["adapter_name"] = "arcface.safetensors"

    with pytest.raises(NodeError, match=r'"Personalize face".*Expected a model that reads text'):
        tried(person_model)
    with pytest.raises(NodeError, match=r'"Personalize face".*arcface \(512 numbers each\)'):
        tried(another_network)
    with pytest.raises(NodeError, match=r"start \(0.8\) must not lie after its end \(0.2\)"):
        tried(
            lambda prompt, inputs: None,
            **{
                "Parallel visual attention.start_percent": 0.8,
                "Parallel visual attention.end_percent": 0.2,
            },
        )
