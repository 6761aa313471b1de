"""What runs on a host, as root: standard library only, Python 3.9 or newer.

The operator's side sends it as one file and keeps it there by its digest (`rollout/program.py`,
`bootstrap.py`), writes orders (`orders.py`) to its standard input, and reads JSON lines: `{"step":
..., "text": ...}` as it goes, then `{"result": ...}` or `{"error": ...}`. What runs as the
application's user is in `as_user`.
"""
