"""Do features learned with smoothing transfer worse to other tasks? (Later work.)"""
