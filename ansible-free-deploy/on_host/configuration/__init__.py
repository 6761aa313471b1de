"""The configuration of this host: one generation is current; a deploy writes, tries and switches to
another."""
