"""The modes of the command, one file each. Only `main` and the package's `__init__` import them."""
