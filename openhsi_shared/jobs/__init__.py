"""Jobs: saved cubes processed by a recipe with an id, as fast as the disk."""
