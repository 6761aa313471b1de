"""`fab move`: other origins (http to https, an address to a name) while both are answered."""
