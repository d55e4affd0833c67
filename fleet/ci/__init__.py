"""Commands and texts of the GitHub workflows."""
