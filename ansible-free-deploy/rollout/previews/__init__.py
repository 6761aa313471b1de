"""Previews: short-lived environments that belong to a branch, and the environments they attach
to."""
