"""Files that released versions wrote, which every later one loads."""
