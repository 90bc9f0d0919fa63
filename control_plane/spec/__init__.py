"""What operators write: documents, how they are read, and everything that can be wrong with them."""
