"""Which epoch of a run is kept, and what its validation says of how it went."""
