"""What the copy engine is made of: `trainmaster.storage.copy` is its door."""
