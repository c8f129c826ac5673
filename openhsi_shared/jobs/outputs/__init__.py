"""Files that jobs write, one module for each format."""
