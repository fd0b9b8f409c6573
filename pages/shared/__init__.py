"""What pages share: widgets, this visitor's state, caches. Nothing here computes; the library does."""
