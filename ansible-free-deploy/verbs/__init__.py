"""The verbs of `fab`, a module for each group; `tasks.py` lists them."""
