"""The same functions over contiguous arrays: threads on the CPU, one thread an element on CUDA."""

from ..jit import kernel, scalar
from ..owners import Owner
from .exponential import exp, expm1, log, sigmoid, tanh
from .trigonometric import atan2, cos, sin, sincos


@scalar
def sincos_row(i, x, sine, cosine):
    sine[i], cosine[i] = sincos(x[i])


@kernel
def sincos_cpu(start, stop, x, sine, cosine):
    for i in range(start, stop):
        sincos_row(i, x, sine, cosine)


SINCOS = Owner(sincos_row, sincos_cpu, "F1 F1 F1")


@scalar
def sin_row(i, x, out):
    out[i] = sin(x[i])


@kernel
def sin_cpu(start, stop, x, out):
    for i in range(start, stop):
        sin_row(i, x, out)


SIN = Owner(sin_row, sin_cpu, "F1 F1")


@scalar
def cos_row(i, x, out):
    out[i] = cos(x[i])


@kernel
def cos_cpu(start, stop, x, out):
    for i in range(start, stop):
        cos_row(i, x, out)


COS = Owner(cos_row, cos_cpu, "F1 F1")


@scalar
def exp_row(i, x, out):
    out[i] = exp(x[i])


@kernel
def exp_cpu(start, stop, x, out):
    for i in range(start, stop):
        exp_row(i, x, out)


EXP = Owner(exp_row, exp_cpu, "F1 F1")


@scalar
def expm1_row(i, x, out):
    out[i] = expm1(x[i])


@kernel
def expm1_cpu(start, stop, x, out):
    for i in range(start, stop):
        expm1_row(i, x, out)


EXPM1 = Owner(expm1_row, expm1_cpu, "F1 F1")


@scalar
def log_row(i, x, out):
    out[i] = log(x[i])


@kernel
def log_cpu(start, stop, x, out):
    for i in range(start, stop):
        log_row(i, x, out)


LOG = Owner(log_row, log_cpu, "F1 F1")


@scalar
def tanh_row(i, x, out):
    out[i] = tanh(x[i])


@kernel
def tanh_cpu(start, stop, x, out):
    for i in range(start, stop):
        tanh_row(i, x, out)


TANH = Owner(tanh_row, tanh_cpu, "F1 F1")


@scalar
def sigmoid_row(i, x, out):
    out[i] = sigmoid(x[i])


@kernel
def sigmoid_cpu(start, stop, x, out):
    for i in range(start, stop):
        sigmoid_row(i, x, out)


SIGMOID = Owner(sigmoid_row, sigmoid_cpu, "F1 F1")


@scalar
def atan2_row(i, y, x, out):
    out[i] = atan2(y[i], x[i])


@kernel
def atan2_cpu(start, stop, y, x, out):
    for i in range(start, stop):
        atan2_row(i, y, x, out)


ATAN2 = Owner(atan2_row, atan2_cpu, "F1 F1 F1")
