"""Every read of the account."""
