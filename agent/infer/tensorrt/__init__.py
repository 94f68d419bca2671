"""TensorRT 10.3 to 11.x: the library, its engines, the backend. Not yet run on a Jetson or any other GPU."""
