"""Training of a sweep: step, loop, evaluation, and the teachers of a distillation."""
