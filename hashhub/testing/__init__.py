"""Public helpers for tests: synthetic material and contracts. Everything is generated and benign; import the
submodules.
"""
