"""Analysis beside a recording."""
