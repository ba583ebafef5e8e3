"""Does smoothing help where training labels are wrong? (Later work.)"""
