"""The papers as plain PyTorch, one file per paper."""
