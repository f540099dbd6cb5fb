//! Events to a terminal: fold into a model, render as tty, plain or rawjson.
