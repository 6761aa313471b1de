"""Backups: the application's data as one file that only the operator's key opens, and back."""
