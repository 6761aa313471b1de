"""Certificates by ACME, the operator's part: certbot's wheels, what to ask for, the account, the
limits."""
