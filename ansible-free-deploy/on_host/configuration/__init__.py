"""The configuration of this host: generations, of which one is current, and switching."""
