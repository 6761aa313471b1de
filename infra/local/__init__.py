"""The third cloud: machines on this host under systemd-nspawn, and an engine where the Pulumi CLI
is missing."""
