"""The certificates of this host: data, not configuration, so they lie outside of generations."""
