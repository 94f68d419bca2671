"""What a crack map or a patch class is worth: pure functions, each named by its definition (see README.md here)."""
