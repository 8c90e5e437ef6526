"""The embedded engine: runs workflow files without ComfyUI."""
