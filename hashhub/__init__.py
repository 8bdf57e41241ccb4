"""hashhub connects hash sets of known child sexual abuse material.

Importing this package loads nothing else: each part is imported where it is used (`hashhub.client`,
`hashhub.connector`, …).
"""

__version__ = "0.1.1.dev0"
