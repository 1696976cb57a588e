"""Says which digits are spoken. The sound comes from WAV files here; a board's microphone takes FileMic's place:
anything that can be iterated for buffers of 16-bit samples, 8000 of them a second.

/rom/spoken-digits.pnb: `patchnet deploy spoken-digits`; filemic.py is patchnet's own (modpatchnet/filemic.py).
"""

import patchnet
from filemic import FileMic

m = patchnet.load("/rom/spoken-digits.pnb")
mic = FileMic("sounds", chunk=256, gap=0.5, rate=m.sample_rate)

for chunk in mic:
    heard = patchnet.spot(chunk)
    if heard:
        print("%s: %s %.2f" % ((mic.name,) + heard))
