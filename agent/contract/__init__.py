"""What train, export and agent agree on; stands on numpy and pydantic only."""
