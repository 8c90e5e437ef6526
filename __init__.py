"""Mannequin: pose, dress, repair and personalise people in images.

ComfyUI imports this file; nothing heavy happens until it asks for the nodes.
"""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """ComfyUI's V3 door: the extension that lists the nodes."""
    from .nodes.extension import MannequinExtension

    return MannequinExtension()


__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
