"""A planet in front of its star: its light curve, and the classical fit of one to a visit."""
