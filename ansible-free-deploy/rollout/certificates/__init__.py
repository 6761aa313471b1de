"""Certificates on the operator's side: where a pair comes from, whether it is good, and its age."""
