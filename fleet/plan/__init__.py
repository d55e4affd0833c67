"""What an update does to each device, as a page for reviewers."""
