"""Stand-in for ComfyUI's `folder_paths`: where pictures and models are found and written.

Models are looked for under `models/` in the working directory, plus whatever folders nodes add.
Pictures are looked for in the package's `workflows/inputs/`, then in the working directory; an
absolute path is taken as it is.
"""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MODEL_FILES = {".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".bin", ".pth", ".pkl"}
LEGACY_NAMES = {"unet": "diffusion_models", "clip": "text_encoders"}

base_path = str(Path.cwd())
models_dir = str(Path(base_path) / "models")
folder_names_and_paths: dict[str, tuple[list[str], set[str]]] = {
    name: ([str(Path(models_dir) / name)], MODEL_FILES)
    for name in (
        "checkpoints",
        "clip_vision",
        "controlnet",
        "diffusion_models",
        "embeddings",
        "loras",
        "text_encoders",
        "vae",
    )
}
_directories = {
    "input": str(Path(__file__).resolve().parent.parent / "workflows" / "inputs"),
    "output": str(Path(base_path) / "out"),
    "temp": str(Path(base_path) / "out" / "previews"),
}


def get_input_directory() -> str:
    return _directories["input"]


def get_output_directory() -> str:
    return _directories["output"]


def get_temp_directory() -> str:
    return _directories["temp"]


@contextmanager
def writing_to(output_dir: str | Path) -> Iterator[None]:
    """While open, pictures go to output_dir and previews to its folder `previews`."""
    before = dict(_directories)
    output = Path(output_dir).absolute()
    _directories.update(output=str(output), temp=str(output / "previews"))
    try:
        yield
    finally:
        _directories.update(before)


def add_model_folder_path(folder_name: str, full_folder_path: str, is_default: bool = False):
    """Look for models of this kind in that folder too; first when is_default."""
    kind = LEGACY_NAMES.get(folder_name, folder_name)
    paths, _ = folder_names_and_paths.setdefault(kind, ([], set()))
    if full_folder_path in paths:
        if not is_default:
            return
        paths.remove(full_folder_path)
    paths.insert(0 if is_default else len(paths), full_folder_path)


def get_folder_paths(folder_name: str) -> list[str]:
    return list(folder_names_and_paths[LEGACY_NAMES.get(folder_name, folder_name)][0])


def get_filename_list(folder_name: str) -> list[str]:
    """Names of the models of this kind, relative to their folders, sorted."""
    paths, extensions = folder_names_and_paths[LEGACY_NAMES.get(folder_name, folder_name)]
    names = {
        os.path.relpath(os.path.join(folder, name), root)
        for root in paths
        for folder, _, files in os.walk(root, followlinks=True)
        for name in files
        if not extensions or Path(name).suffix.lower() in extensions
    }
    return sorted(names)


def get_full_path(folder_name: str, filename: str) -> str | None:
    """The file's path, or None; a name cannot climb out of the folders, links are followed."""
    name = Path(filename)
    if name.is_absolute() or ".." in name.parts:
        return None
    kind = LEGACY_NAMES.get(folder_name, folder_name)
    paths = folder_names_and_paths.get(kind, ([], set()))[0]
    return next((str(Path(root) / name) for root in paths if (Path(root) / name).is_file()), None)


def get_full_path_or_raise(folder_name: str, filename: str) -> str:
    """As get_full_path, but a missing file is a FileNotFoundError that says what there is."""
    path = get_full_path(folder_name, filename)
    if path is None:
        there = ", ".join(get_filename_list(folder_name)) or "no models at all"
        folders = ", ".join(get_folder_paths(folder_name))
        raise FileNotFoundError(
            f'expected a model "{filename}" of the kind "{folder_name}"; the folders {folders} '
            f"have {there}. Put the file there or choose one of these."
        )
    return path


def get_annotated_filepath(name: str, default_dir: str | None = None) -> str:
    """Path of a picture: `face.png`, `face.png [output]`, `[temp]`, `[input]`, or any path.

    A relative name is looked for in default_dir or the input folder, then in the working
    directory; a file that is in neither gets the path that it would have in the first.
    """
    annotated = re.fullmatch(r"(.*?) ?\[(input|output|temp)\]", name)
    if annotated:
        return str(Path(_directories[annotated[2]]) / annotated[1])
    first = Path(default_dir or get_input_directory()) / name
    return str(first if first.exists() or not Path(name).exists() else Path(name).resolve())


def exists_annotated_filepath(name: str) -> bool:
    return Path(get_annotated_filepath(name)).is_file()


def get_save_image_path(
    filename_prefix: str, output_dir: str, image_width: int = 0, image_height: int = 0
) -> tuple[str, str, int, str, str]:
    """Where the next picture goes: (folder, file name stem, counter, subfolder, prefix).

    The prefix may hold a subfolder and %width%, %height%, %year%, %month%, %day%, %hour%,
    %minute%, %second%. Pictures are called `<stem>_<counter, five digits>_.png`; the counter is
    one more than the largest there. Makes the folder. Raises ValueError for a prefix that leaves
    output_dir.
    """
    now = time.localtime()
    values = {
        "width": str(image_width),
        "height": str(image_height),
        "year": str(now.tm_year),
        "month": f"{now.tm_mon:02}",
        "day": f"{now.tm_mday:02}",
        "hour": f"{now.tm_hour:02}",
        "minute": f"{now.tm_min:02}",
        "second": f"{now.tm_sec:02}",
    }
    prefix = re.sub(r"%(\w+)%", lambda m: values.get(m[1], m[0]), filename_prefix)
    output = Path(os.path.abspath(output_dir))
    target = Path(os.path.abspath(output / prefix))
    if output not in target.parents:
        raise ValueError(
            f'expected a filename_prefix inside the output folder, "{filename_prefix}" leads to '
            f"{target}. Take out the leading slash or the .. and give a file name."
        )
    folder = target.parent
    folder.mkdir(parents=True, exist_ok=True)
    numbered = re.compile(re.escape(target.name) + r"_(\d+)_", re.IGNORECASE)
    found = (numbered.match(entry.name) for entry in folder.iterdir())
    counter = max((int(match[1]) for match in found if match), default=0) + 1
    subfolder = folder.relative_to(output)
    return str(folder), target.name, counter, "" if subfolder == Path() else str(subfolder), prefix
