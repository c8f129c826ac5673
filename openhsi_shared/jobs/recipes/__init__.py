"""What a recipe is made of: its arguments and their checks, its id, and itself as JSON and back."""
