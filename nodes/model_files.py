"""Where model files lie: one family per name of folder_paths, each in a folder of its own.

Every family lies in models/mannequin or a folder below it, wherever extra_model_paths.yaml says for
`mannequin` or for the family itself (these folders come first), and, what ships, in the pack's
weights/ or the same folder below that.
"""

from pathlib import Path

import folder_paths

SHIPPED = Path(__file__).resolve().parents[1] / "weights"
PERSON, INPAINT, FACES, ADAPTERS, ROUTERS, HANDS, BRANCHES, ALIGNERS, POSES = (
    "mannequin",
    "mannequin_inpaint",
    "mannequin_faces",
    "mannequin_adapters",
    "mannequin_routers",
    "mannequin_hands",
    "mannequin_branches",
    "mannequin_aligners",
    "mannequin_poses",
)
SUBFOLDERS = {
    PERSON: "",
    INPAINT: "inpaint",
    FACES: "faces",
    ADAPTERS: "adapters",
    ROUTERS: "routers",
    HANDS: "hands",
    BRANCHES: "branches",
    ALIGNERS: "aligners",
    POSES: "poses",
}


def register() -> None:
    """Tells folder_paths of all families. A published .pth is listed too, so that loading it can
    say how to convert it.
    """
    folder_paths.add_model_folder_path(PERSON, str(Path(folder_paths.models_dir) / PERSON))
    folder_paths.add_model_folder_path(PERSON, str(SHIPPED))
    for name, folder in SUBFOLDERS.items():
        for root in folder_paths.get_folder_paths(PERSON):
            folder_paths.add_model_folder_path(name, str(Path(root) / folder))
        _, extensions = folder_paths.folder_names_and_paths[name]
        extensions.update({".safetensors", ".pth"} if name == PERSON else {".safetensors"})


def names(family: str) -> list[str]:
    """The files of a family, as an artist chooses them; a person model is in no other family's
    folder.
    """
    found = folder_paths.get_filename_list(family)
    others = set(SUBFOLDERS.values())
    return [name for name in found if family != PERSON or Path(name).parts[0] not in others]


def path(family: str, name: str) -> Path:
    """The file of that name. Raises FileNotFoundError."""
    return Path(folder_paths.get_full_path_or_raise(family, name))


def fingerprint(family: str, name: str) -> str:
    """Another text when the file has changed."""
    stat = path(family, name).stat()
    return f"{stat.st_mtime_ns} {stat.st_size}"


register()
