"""What a program with a typed config offers on its command line."""
