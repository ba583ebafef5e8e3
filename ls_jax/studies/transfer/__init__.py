"""Do features that were trained with smoothing transfer worse to other tasks? (Later work.)"""
