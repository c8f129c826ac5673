"""Work on events: batches, the loop of a worker, the loop of the reducer."""
