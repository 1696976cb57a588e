module("_boot.py")
