"""What reviewers and operators use, against AWS and greenhouse alike: `python -m fleet --help`."""
