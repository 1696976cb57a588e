class LED:
    def __init__(self, name):
        self.name = name

    def on(self):
        print(self.name, "on")

    def off(self):
        print(self.name, "off")
