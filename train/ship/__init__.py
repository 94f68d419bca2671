"""The bundles that ship, from a plan: every run, every figure, by one command that can be stopped and taken up again."""
