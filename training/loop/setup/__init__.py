"""Before the first step: what a run will do, and the weights that it begins with."""
