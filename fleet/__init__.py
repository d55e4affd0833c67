"""Commands for reviewers and operators, for AWS and greenhouse: `python -m fleet --help`."""
