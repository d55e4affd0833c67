"""The wait for a release on its devices, and the restore after a failure."""
