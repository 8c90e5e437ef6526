"""Synthetic people: rendered pictures of dressed people with exact ground truth."""

from .folder import render_folder
from .recipe import recipe_of
from .sets import PersonSet, render_set
from .shards import write_shards

__all__ = ["PersonSet", "recipe_of", "render_folder", "render_set", "write_shards"]
