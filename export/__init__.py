"""Checkpoint to sealed model bundle. Importing this package, or its command, loads no torch: a Jetson has none."""
