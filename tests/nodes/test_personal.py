"""Painting and editing one person's face, and learning a person, in whole workflows."""

import numpy as np
import pytest
import torch
from PIL import Image

from mannequin.headless import NodeError, folders, run_workflow
from mannequin.headless.engine import Engine
from mannequin.headless.progress import Progress

PVA, PASTE, TUNE = "Parallel visual attention", "Paste crop", "Personalize face"
CONSENT = "this person does not exist"
OF_A_FACE = (
    "Load mask",
    "Load reference",
    "Load second reference",
    "Encode reference",
    "Encode second reference",
    "Crop around mask",
    PVA,
    "What to paint",
    "What not to paint",
    "Picture and mask",
    "Sample",
    "Decode",
    PASTE,
)
OF_TUNING = (
    "Load reference",
    "Load second reference",
    "Encode reference",
    "Encode second reference",
    "Load inpaint model",
    "Load person adapter",
    TUNE,
)


def titled(prompt, title):
    return next(key for key, node in prompt.items() if node["_meta"]["title"] == title)


def given(prompt, title):
    """The inputs of the node with this title, to change."""
    return prompt[titled(prompt, title)]["inputs"]


def output(result, prompt, title, index=0):
    return result.outputs[titled(prompt, title)][index]


def example(name):
    return np.array(Image.open(f"{folders.get_input_directory()}/{name}.png"))


@pytest.fixture
def prompt_for(prompt_of, random_files):
    """prompt_for(name): a face workflow of one or two steps with random weights."""

    def prompt_for(name):
        prompt = prompt_of(name)
        for node in prompt.values():
            node["inputs"].update(random_files.get(node["class_type"], {}))
        given(prompt, "Sample")["steps"] = 1
        if name == "personalize_face":
            given(prompt, TUNE).update(steps=2, learning_rate=1e-3)
        return prompt

    return prompt_for


@pytest.fixture
def painted(tmp_path):
    """painted(prompt, **settings): the picture [1, H, W, 3] that the last Paste Crop gives."""

    def painted(prompt, title=PASTE, **settings):
        return output(run_workflow(prompt, settings, tmp_path), prompt, title).clone()

    return painted


class Steps(Progress):
    """The steps that Personalize Face reports; at `stop` the artist presses Cancel."""

    def __init__(self, stop=None):
        self.stop, self.seen = stop, []

    def stepped(self, node, value, total):
        if node.class_type == "MannequinPersonalizeFace":
            self.seen.append(value)
            if value == self.stop:
                raise KeyboardInterrupt


@pytest.fixture
def kept_in(adapter_file, tmp_path):
    """The folder into which Save Person Adapter writes."""
    paths = folders.folder_names_and_paths["mannequin_adapters"][0]
    folder = tmp_path / "adapters"
    folder.mkdir()
    paths.insert(0, str(folder))
    yield folder
    paths.remove(str(folder))


@pytest.fixture
def tuning(prompt_for, kept_in):
    """A workflow that learns a person and keeps them, without painting."""
    prompt = prompt_for("personalize_face")
    prompt = {k: node for k, node in prompt.items() if node["_meta"]["title"] in OF_TUNING}
    inputs = {"adapter": [titled(prompt, TUNE), 0], "name": "ann", "consent": CONSENT, "note": ""}
    prompt["keep"] = {
        "class_type": "MannequinSavePersonAdapter",
        "inputs": inputs,
        "_meta": {"title": "Keep"},
    }
    return prompt


def learned(prompt, folder, engine, stop=None, **settings):
    """(the adapter's tensors, the steps taken); folder: where unfinished work lies."""
    steps = Steps(stop)
    given(prompt, TUNE).update(settings)
    try:
        result = run_workflow(prompt, {}, folder, engine=engine, progress=steps)
    except KeyboardInterrupt:
        return None, steps.seen
    return output(result, prompt, TUNE).tensors, steps.seen


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_face_is_painted_and_every_other_pixel_stays(prompt_for, tmp_path):
    prompt = prompt_for("face_inpaint")
    result = run_workflow(prompt, {}, tmp_path)
    before, mask = (output(result, prompt, f"Load {what}") for what in ("picture", "mask"))
    after = output(result, prompt, PASTE)
    assert after.shape == before.shape == (1, 96, 192, 3)
    assert torch.equal(after[mask == 0], before[mask == 0])
    assert (after != before).any(-1)[mask == 1].float().mean() > 0.9
    saved = np.asarray(Image.open(result.images[0]).convert("RGB"))
    outside = example("pair_ab_mask_a") == 0
    assert np.array_equal(saved[outside], example("pair_ab")[outside])
    crops = output(result, prompt, "Encode second reference", 1)
    assert crops.shape == (2, 64, 64, 3)


def test_strength_zero_is_the_graph_without_the_node(prompt_for, painted):
    prompt = prompt_for("face_inpaint")
    one, zero = (painted(prompt, **{f"{PVA}.strength": k}) for k in (1, 0))
    key, loader = titled(prompt, PVA), titled(prompt, "Load inpaint model")
    plain = {k: node for k, node in prompt.items() if k != key}
    for node in plain.values():
        for name, value in node["inputs"].items():
            if isinstance(value, list) and value[0] == key:
                node["inputs"][name] = [loader, value[1]]
    assert torch.equal(painted(plain), zero)
    assert not torch.equal(one, zero)


def test_references_words_and_the_negative_branch_count(prompt_for, painted):
    prompt = prompt_for("face_edit")
    usual = painted(prompt)
    assert torch.equal(painted(prompt), usual)
    for setting in (
        {"Load reference.image": "portrait_b.png"},
        {"What to paint.text": "photo of a <new1> person, a full beard"},
        {"What to paint.text": "photo of a person, laughing, black round glasses"},
        {f"{PVA}.in_negative": False},
        {f"{PVA}.layers": "fine"},
    ):
        assert not torch.equal(painted(prompt, **setting), usual), setting


def test_two_faces_each_with_its_own_references(prompt_for, painted):
    prompt = prompt_for("face_inpaint")
    copies = {titled(prompt, title): f"b{titled(prompt, title)}" for title in OF_A_FACE}
    for old, new in copies.items():
        node = prompt[old]
        inputs = {
            name: [copies.get(v[0], v[0]), v[1]] if isinstance(v, list) else v
            for name, v in node["inputs"].items()
        }
        prompt[new] = {**node, "inputs": inputs, "_meta": {"title": f"B {node['_meta']['title']}"}}
    given(prompt, "B Crop around mask")["image"] = [titled(prompt, PASTE), 0]
    given(prompt, "Save result")["images"] = [titled(prompt, f"B {PASTE}"), 0]
    given(prompt, "B Load mask")["image"] = "pair_ab_mask_b.png"
    given(prompt, "B Load reference")["image"] = "portrait_b.png"
    given(prompt, "B Load second reference")["image"] = "portrait_b_second.png"
    first, both = painted(prompt), painted(prompt, f"B {PASTE}")
    other = painted(prompt, f"B {PASTE}", **{"B Load reference.image": "portrait_a.png"})
    in_a, in_b = (torch.from_numpy(example(f"pair_ab_mask_{who}")) > 0 for who in "ab")
    before = torch.from_numpy(example("pair_ab")) / 255
    assert torch.equal(both[0, ~(in_a | in_b)], before[~(in_a | in_b)])
    assert torch.equal(both[0, ~in_b], first[0, ~in_b])
    assert torch.equal(other[0, in_a], both[0, in_a])
    for one, another in ((both, first), (other, both)):
        assert (one != another).any(-1)[0, in_b].float().mean() > 0.5


def test_a_mask_without_a_hole(prompt_for, painted, tmp_path):
    Image.new("L", (192, 96)).save(tmp_path / "nothing.png")
    with pytest.raises(NodeError, match=r'"Crop around mask".*The mask has no hole: expected 1'):
        painted(prompt_for("face_inpaint"), **{"Load mask.image": str(tmp_path / "nothing.png")})


def test_who_is_meant_must_be_said(prompt_for, painted):
    prompt = prompt_for("face_inpaint")
    del given(prompt, PVA)["faces"]
    with pytest.raises(NodeError, match=r"Expected faces from Face Encoder: .* Connect faces, or"):
        painted(prompt)


def test_a_learned_person_needs_no_faces(prompt_for, painted, tuning, nodes, tmp_path):
    prompt = prompt_for("personalize_face")
    assert "faces" not in given(prompt, PVA)
    own = painted(prompt)
    assert not torch.equal(painted(prompt_for("face_inpaint")), own)
    learned(tuning, tmp_path, Engine(nodes))
    prompt = prompt_for("face_inpaint")
    del given(prompt, PVA)["faces"]
    kept = painted(prompt, **{"Load person adapter.adapter_name": "ann.safetensors"})
    assert (kept - own).abs().max() < 0.05  # the file holds half precision


def test_learning_goes_on_after_an_interrupt_as_if_there_was_none(tuning, nodes, tmp_path):
    whole, steps = learned(tuning, tmp_path / "unbroken", Engine(nodes))
    assert steps == [1, 2]
    broken, engine = tmp_path / "broken", Engine(nodes)
    nothing, steps = learned(tuning, broken, engine, stop=1)
    assert nothing is None and steps == [1]
    again, steps = learned(tuning, broken, engine)
    assert steps == [2]
    assert same(again, whole)
    # nothing changed: from the engine's memory, and after a restart from what was kept
    restarted = Engine(nodes)
    for unchanged in (engine, restarted):
        again, steps = learned(tuning, broken, unchanged)
        assert steps == [] and same(again, whole)
    longer, steps = learned(tuning, broken, restarted, steps=3)
    assert steps == [3] and not same(longer, whole)
    other, steps = learned(tuning, broken, restarted, steps=1, seed=5)
    assert steps == [1] and not same(other, whole)


def test_learning_changes_the_branch_and_the_word_alone(tuning, nodes, adapter, tmp_path):
    result = run_workflow(tuning, {}, tmp_path, engine=Engine(nodes))
    personal = output(result, tuning, TUNE)
    assert personal.personal and len(personal.vectors) == 2
    for name, t in personal.tensors.items():
        if name != "vectors":
            before = adapter.tensors[name].half().float()
            assert torch.equal(t, before) == name.startswith("identity."), name
    assert "learned: 2 steps on 2 picture(s)" in personal.about()


def test_a_person_is_kept_with_consent_alone(execute, adapter, kept_in):
    personal = adapter.with_tensors({"vectors": torch.zeros(1, 1, 12)}, personal=True)
    say = {"adapter": personal, "name": "ann", "note": "until 2030"}
    save = "MannequinSavePersonAdapter"
    with pytest.raises(ValueError, match="Expected a statement of consent; got none"):
        execute(save, consent="not stated", **say)
    assert list(kept_in.iterdir()) == []
    names = [execute(save, consent="this person agreed", **say)[0] for _ in range(3)]
    assert names == ["ann.safetensors", "ann_2.safetensors", "ann_3.safetensors"]
    assert sorted(path.name for path in kept_in.iterdir()) == names
    loaded, about = execute("MannequinLoadPersonAdapter", adapter_name="ann.safetensors")
    assert loaded.personal and loaded.tensors.keys() == personal.tensors.keys()
    for said in ("consent: this person agreed", "note: until 2030", "person: one", "saved: 20"):
        assert said in about
    (name,) = execute(save, consent="not stated", **{**say, "adapter": adapter, "name": "anyone"})
    _, about = execute("MannequinLoadPersonAdapter", adapter_name=name)
    assert "consent: not stated" in about and "person: any" in about


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/ann", "../ann", "a\\ann", "/ann", "C:ann", "ann?", "a\nnn", " "]
)
def test_a_name_is_no_way_into_another_folder(execute, adapter, kept_in, name):
    with pytest.raises(ValueError, match="Expected a plain file name without folders; got"):
        execute("MannequinSavePersonAdapter", adapter=adapter, name=name, consent=CONSENT, note="")
    assert list(kept_in.parent.rglob("*.safetensors")) == []
