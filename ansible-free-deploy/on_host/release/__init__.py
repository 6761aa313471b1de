"""The application on this host: its releases, their Python environments, and switching."""
