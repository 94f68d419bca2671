"""Runtimes: open a bundle, infer tiles, close. Two runtimes are compared, never trusted."""
