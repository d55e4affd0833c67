"""Plans what an update does to each device, and writes it as a page for reviewers."""
