"""Subject, MoA Router and Route Preview as the artist connects them, with random weights."""

import pytest
import torch

PROMPT = "a scene of a man beside a woman, a plain background"
H, W = 32, 64
UNTRAINED = "from masks or attention"


@pytest.fixture
def people(execute, make, face_model):
    """people(mask, words): the subjects of two people, the first with that mask."""

    def faces(seed):
        given = {"face_model": face_model.name, "find_face": "whole picture"}
        return execute("MannequinFaceEncoder", image=make.picture(seed, 2), **given)[0]

    def people(mask=None, words=("man", "woman"), **second):
        (first,) = execute("MannequinSubject", word=words[0], faces=faces(0), morph=0.5, mask=mask)
        given = {"word": words[1], "faces": faces(1), "morph": 0.5, "others": first, **second}
        return execute("MannequinSubject", **given)[0]

    return people


@pytest.fixture
def route(execute, inpaint_parts, router_file):
    """route(subjects, **inputs): model, positive and routes of MoA Router."""

    def route(subjects, **inputs):
        model, clip, _ = inpaint_parts
        usual = {
            "prompt": PROMPT,
            "router": router_file.name,
            "strength": 1.0,
            "start_percent": 0.0,
            "end_percent": 1.0,
            "layers": "all",
            "temperature": 1.0,
            "record_routes": True,
        }
        given = {"model": model, "clip": clip, **usual, **inputs}
        return execute("MannequinMoARouter", subjects=subjects, **given)

    return route


@pytest.fixture
def paint(execute, inpaint_parts, make):
    """paint(model, positive): the decoded picture [1, H, W, 3] of two steps."""

    def paint(model, positive, batch=1, cfg=2.0):
        _, clip, vae = inpaint_parts
        (negative,) = execute("CLIPTextEncode", text="", clip=clip)
        told = execute(
            "InpaintModelConditioning",
            positive=positive,
            negative=negative,
            vae=vae,
            pixels=make.picture(5, batch, H, W),
            mask=torch.ones(1, H, W),
            noise_mask=True,
        )
        (latent,) = execute(
            "KSampler",
            model=model,
            seed=3,
            steps=2,
            cfg=cfg,
            sampler_name="euler",
            scheduler="normal",
            positive=told[0],
            negative=told[1],
            latent_image=told[2],
            denoise=1.0,
        )
        return execute("VAEDecode", samples=latent, vae=vae)[0]

    return paint


@pytest.fixture
def plain(execute, inpaint_parts, paint):
    """The picture of the model itself."""
    model, clip, _ = inpaint_parts
    return paint(model, execute("CLIPTextEncode", text=PROMPT, clip=clip)[0])


def left_half():
    mask = torch.zeros(1, H, W)
    mask[..., : W // 2] = 1
    return mask


@pytest.mark.parametrize("trained", [True, False])
def test_strength_zero_is_the_model_itself(people, route, paint, plain, adapter, trained):
    how = {} if trained else {"router": UNTRAINED, "adapter": adapter}
    off = route(people(), strength=0.0, **how)
    assert torch.equal(paint(*off[:2]), plain)
    on = route(people(), **how)
    assert not torch.equal(paint(*on[:2]), plain)
    with pytest.raises(ValueError, match="No routes were recorded"):
        off[2].share()
    assert on[2].words == ("man", "woman")


def test_every_setting_counts(people, route, paint):
    usual = paint(*route(people())[:2])
    assert torch.equal(paint(*route(people())[:2]), usual), "a seed fixes the picture"
    assert torch.equal(paint(*route(people(), record_routes=False)[:2]), usual)
    for change in (
        {"strength": 0.5},
        {"start_percent": 0.6},
        {"end_percent": 0.4},
        {"layers": "fine"},
        {"temperature": 4.0},
        {"prompt": "a scene of a woman beside a man, a plain background"},
    ):
        assert not torch.equal(paint(*route(people(), **change)[:2]), usual), change
    swapped = people(words=("woman", "man"))
    assert not torch.equal(paint(*route(swapped)[:2]), usual)


def test_without_training_people_are_where_their_masks_are(
    people, route, paint, execute, adapter, make
):
    model, positive, routes = route(people(left_half()), router=UNTRAINED, adapter=adapter)
    picture = paint(model, positive)
    drawn, first = execute(
        "MannequinRoutePreview", routes=routes, image=picture, mode="people", subject=1
    )
    assert drawn.shape == (1, 512, 1024, 3) and first.shape == (1, H, W)
    inside = left_half() > 0
    assert first[..., : W // 2 - 8].min() > 0.8 and first[..., W // 2 + 8 :].max() < 0.2
    _, second = execute(
        "MannequinRoutePreview", routes=routes, image=picture, mode="layers", subject=2
    )
    assert second[inside].mean() < 0.1 and (first + second).max() < 1.01
    right = left_half().flip(-1)
    others = paint(*route(people(right), router=UNTRAINED, adapter=adapter)[:2])
    assert not torch.equal(others, picture)


def test_a_trained_router_divides_its_share_among_the_people(people, route, paint, execute):
    model, positive, routes = route(people())
    picture = paint(model, positive, batch=2)
    masks = [
        execute("MannequinRoutePreview", routes=routes, image=picture, mode=mode, subject=who)[1]
        for who, mode in enumerate(("time", "people", "layers"))
    ]
    assert all(mask.shape == (2, H, W) for mask in masks)
    together = routes.share(kind="cross")
    parts = routes.share(0) + routes.share(1)
    torch.testing.assert_close(parts, together, atol=1e-4, rtol=1e-4)
    assert 0.05 < together.mean() < 0.95


@pytest.mark.parametrize("trained", [True, False])
def test_another_node_on_the_same_attention_counts_in_either_order(
    people, route, paint, execute, adapter, inpaint_parts, trained
):
    how = {} if trained else {"router": UNTRAINED, "adapter": adapter}
    own = people()

    def look(model):
        given = {"adapter": adapter, "strength": 1.0, "faces": own[1].faces}
        return execute("MannequinParallelVisualAttention", model=model, **given)[0]

    before = paint(*route(own, model=look(inpaint_parts[0]), **how)[:2])
    alone, positive, _ = route(own, **how)
    assert torch.equal(paint(look(alone), positive), before)
    assert not torch.equal(paint(alone, positive), before)
    assert not torch.equal(paint(look(inpaint_parts[0]), positive), before)


def test_the_routes_are_shown_while_they_are_found(people, route, paint):
    from mannequin.nodes.live_routes import live_routes, picture

    model, positive, routes = route(people())
    shown = []
    routes.after_step = lambda record, step: shown.append((picture(record).size, step.index))
    paint(model, positive)
    assert shown == [((256, 128), 0), ((256, 128), 1)]
    assert live_routes("7") is None, "the embedded engine shows no previews"


def test_people_may_look_alike_on_purpose(people, route, paint, execute, face_model, make):
    faces, _, _ = execute(
        "MannequinFaceEncoder",
        image=make.picture(7, 2),
        face_model=face_model.name,
        find_face="whole picture",
    )
    pictures = [
        paint(*route(people(morph_into=faces, morph=share))[:2]) for share in (0.0, 0.5, 1.0)
    ]
    assert torch.equal(pictures[0], paint(*route(people())[:2]))
    assert torch.equal(pictures[2], paint(*route(people(faces=faces))[:2]))
    assert not any(torch.equal(pictures[1], one) for one in (pictures[0], pictures[2]))


def test_routers_are_listed_and_read_again_when_they_change(nodes, router_file):
    node = nodes["MannequinMoARouter"]
    inputs = {spec.id: spec for spec in node.GET_SCHEMA().inputs}
    assert inputs["router"].options[0] == UNTRAINED
    assert router_file.name in inputs["router"].options
    before = node.fingerprint_inputs(router=router_file.name, model=None)
    router_file.touch()
    assert node.fingerprint_inputs(router=router_file.name, model=None) != before
    assert node.fingerprint_inputs(router=UNTRAINED, model=None) == ""


def test_what_cannot_be_painted_is_named(
    people, route, paint, adapter, person_model, router_file, execute
):
    with pytest.raises(ValueError, match="word 'woman' at least once in the prompt"):
        route(people(), prompt="a man, alone")
    with pytest.raises(ValueError, match="Expected an adapter from Load Person Adapter"):
        route(people(), router=UNTRAINED)
    with pytest.raises(ValueError, match="Expected a model that reads text"):
        route(people(), model=person_model[0])
    other = people()
    strangers = tuple(
        type(one)(one.word, type(one.faces)(**{**vars(one.faces), "source": "clip-vision-12"}))
        for one in other
    )
    with pytest.raises(ValueError, match="trained with faces of mannequin-tiny-face"):
        route(strangers)
    routes = route(people())[2]
    with pytest.raises(ValueError, match="run the sampler first"):
        execute(
            "MannequinRoutePreview",
            routes=routes,
            image=torch.zeros(1, H, W, 3),
            mode="people",
            subject=0,
        )


def test_another_models_router_is_refused(people, route, router_file, tmp_path):
    from mannequin.hosts.routers import read_router, write_router

    made = read_router(router_file)
    fewer = {**made.config, "layers": made.config["layers"][:-1], "base": "another"}
    path = router_file.with_name("fewer.safetensors")
    write_router(path, type(made)(fewer, made.tensors))
    with pytest.raises(ValueError, match="This router was trained for another with"):
        route(people(), router="fewer.safetensors")
    lacking = {k: t for k, t in made.tensors.items() if k != "binder.layer"}
    write_router(path, type(made)(made.config, lacking))
    with pytest.raises(ValueError, match=r"fewer.safetensors is not a router of MoA: binder.layer"):
        route(people(), router="fewer.safetensors")
    write_router(path, type(made)({"family": "pva"}, made.tensors))
    with pytest.raises(ValueError, match=r"expected a file of the family 'moa'; got 'pva'"):
        route(people(), router="fewer.safetensors")
    path.unlink()
