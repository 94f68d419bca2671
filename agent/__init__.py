"""The device: frames in, crack reports out. Needs numpy, OpenCV and ONNX Runtime; never torch."""
