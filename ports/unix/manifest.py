include("../../modpatchnet/manifest.py")
module("filecam.py", base_path="../../modpatchnet")
module("filemic.py", base_path="../../modpatchnet")
