"""Components and their scripts, from install to shutdown."""
