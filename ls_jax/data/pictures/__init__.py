"""Pictures: augmentation, JPEG decoding, and streams of more pictures than fit into memory."""
