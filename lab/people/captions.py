"""One sentence that says who is in a picture and what they wear."""

from .recipe import Recipe


def describe_cloth(piece: dict) -> str:
    if piece["pattern"] == "plain":
        return piece["colour"]
    if piece["pattern"] == "blocks":
        return f"{piece['colour']} colour-blocked"
    return f"{piece['colour']}, {piece['pattern']}"


def caption(recipe: Recipe, picture: int) -> str:
    """Caption of one picture of the set."""
    who = recipe.attributes()["people"][recipe.wearer(picture)]
    top, bottom = who["top"], who["bottom"]
    noun = {"male": "man", "female": "woman"}[who["gender"]]
    hair = (
        "a bald head"
        if who["hair_style"] == "bald"
        else f"{who['hair_style']} {who['hair_colour']} hair"
    )
    garment = (
        f"{'loose' if top['loose'] else 'fitted'} {describe_cloth(top)} top with {top['neck']} neck"
    )
    sleeves = "no sleeves" if top["sleeve"] == "sleeveless" else f"{top['sleeve']} sleeves"
    printed = f' and the print "{top["print"]}"' if top["print"] else ""
    legs = f"{describe_cloth(bottom)} {bottom['kind']}"
    article = "An" if who["age"] == "older" else "A"
    return (
        f"{article} {who['age']}, {who['build']} {noun} with {hair}, wearing a {garment}, "
        f"{sleeves}{printed}, and {'a ' if bottom['kind'] == 'skirt' else ''}{legs}; "
        f"{'whole body' if recipe.frame == 'full' else 'head to thigh'}."
    )
