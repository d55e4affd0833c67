"""What a release's image is made of: its files, the packages they belong to, and their licences."""
