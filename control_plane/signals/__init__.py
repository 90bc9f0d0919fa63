"""What the data plane tells back: the access journal read and followed, attempts classified, counted and kept in sliding windows."""
