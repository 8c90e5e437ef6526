"""What made the weights and the numbers; not shipped to ComfyUI users."""
