"""What `--mode` can be: one file each. Only `main` imports them."""
