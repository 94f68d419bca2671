"""The bundles that ship, from a plan: every run and figure, by one command that can be stopped and taken up again."""
