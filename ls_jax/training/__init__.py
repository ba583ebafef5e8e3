"""Training a sweep: its step, its loop, its evaluation, and the teachers of a distillation."""
