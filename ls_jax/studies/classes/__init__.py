"""Who pays for smoothing: accuracy and calibration of each class. (Later work.)"""
