"""Attention primitives: the readable truth and its faster equals."""
