"""`init`, `doctor`, `check`: from an address to a file that is right for its servers."""
