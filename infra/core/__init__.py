"""What both halves share: the stack's config, the contract and its values' rules. No Pulumi."""
