"""Public helpers for tests: synthetic, benign material and contracts. Import the submodules."""
