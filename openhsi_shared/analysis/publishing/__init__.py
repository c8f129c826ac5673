"""What a reducer publishes: snapshots, a file, and HTTP."""
