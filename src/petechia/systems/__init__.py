"""Four published ways from prepared images to a score map, one file each; what they share stands once."""
