"""What networks learn from: rendered pools and folders of photos, split by group, cut into augmented crops."""
