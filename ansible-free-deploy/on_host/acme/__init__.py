"""Certificates by ACME (RFC 8555): certbot in an environment of its own, issue, renewal, their
record."""
