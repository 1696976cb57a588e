# The Python half of patchnet, for every port. Include this file from the manifest of a build.
module("patchnet.py", opt=3)
