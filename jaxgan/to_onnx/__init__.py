"""Functions of JAX as ONNX models, which onnxruntime and others run without JAX; needs the extra ``jaxgan[onnx]``.

What is translated is what the library's generators are made of, forward, and no more: `rules.RULES` lists it, and
anything else is refused by name.
"""

from jaxgan.to_onnx.convert import convert

__all__ = ["convert"]
