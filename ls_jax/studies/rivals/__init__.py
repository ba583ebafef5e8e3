"""Label smoothing against its rivals, each at the strength that validation chooses for each seed. (Later work.)"""
