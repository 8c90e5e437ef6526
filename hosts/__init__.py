"""Where a method meets a model."""
