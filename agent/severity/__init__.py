"""Width in mm -> class of a named standard, with the probability of that class; standards are YAML tables."""
