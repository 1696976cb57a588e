# OpenMV's camera as far as the examples use it: takes its pictures from files, and ends the program after the last one.
import filecam
from patchnet import GRAYSCALE, RGB565  # noqa: F401

QQVGA, QVGA = (160, 120), (320, 240)


class Frame:
    """A picture that can be drawn into: says what."""

    def __init__(self, img):
        self._img = img
        self.width, self.height, self.format = img.width, img.height, img.format

    def bytearray(self):
        return self._img

    def draw_rectangle(self, box, color):
        assert len(box) == 4 and len(color) == 3

    def draw_string(self, x, y, text, color):
        print("draw", text.split()[0])


class CSI:
    def reset(self):
        self._format = RGB565
        self._window = None

    def pixformat(self, format):
        self._format = format

    def framesize(self, size):
        path = "/rom/pictures/%dx%d" % size
        self._cam = filecam.FileCam(path, size=size, format=RGB565, pixformat=self._format)
        self._taken = 0
        self._seen = []

    def window(self, roi):
        self._window = roi

    def snapshot(self, time=0):
        if time:
            return None
        if self._taken == len(self._cam):
            raise RuntimeError("last picture")
        if self._window is None:
            self._taken += 1
            return Frame(self._cam.snapshot())
        if self._window in self._seen:  # of the next picture
            self._seen = []
            self._taken += 1
            self._cam.skip()
            return self.snapshot()
        self._seen.append(self._window)
        return self._cam.window(*self._window)
