"""The same functions over contiguous arrays: threads on the CPU, one thread an element on CUDA."""

from ..jit import kernel, nonnegative, scalar
from ..owners import Owner
from .exponential import exp, expm1, log, sigmoid, tanh
from .trigonometric import BLOCK, all_near, atan2, cos, sin, sincos, sincos_near


@scalar
def sincos_row(i, x, sine, cosine):
    sine[i], cosine[i] = sincos(x[i])


@scalar
def near_sincos_row(i, x, sine, cosine):
    sine[i], cosine[i] = sincos_near(x[i])


@kernel
def sincos_cpu(start, stop, x, sine, cosine):
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        if all_near(x, first, last):
            for i in range(first, last):
                near_sincos_row(nonnegative(i), x, sine, cosine)
        else:
            for i in range(first, last):
                sincos_row(nonnegative(i), x, sine, cosine)


SINCOS = Owner(sincos_row, sincos_cpu, "F1 F1 F1")


@scalar
def sin_row(i, x, out):
    out[i] = sin(x[i])


@scalar
def near_sin_row(i, x, out):
    out[i] = sincos_near(x[i])[0]


@kernel
def sin_cpu(start, stop, x, out):
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        if all_near(x, first, last):
            for i in range(first, last):
                near_sin_row(nonnegative(i), x, out)
        else:
            for i in range(first, last):
                sin_row(nonnegative(i), x, out)


SIN = Owner(sin_row, sin_cpu, "F1 F1")


@scalar
def cos_row(i, x, out):
    out[i] = cos(x[i])


@scalar
def near_cos_row(i, x, out):
    out[i] = sincos_near(x[i])[1]


@kernel
def cos_cpu(start, stop, x, out):
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        if all_near(x, first, last):
            for i in range(first, last):
                near_cos_row(nonnegative(i), x, out)
        else:
            for i in range(first, last):
                cos_row(nonnegative(i), x, out)


COS = Owner(cos_row, cos_cpu, "F1 F1")


@scalar
def exp_row(i, x, out):
    out[i] = exp(x[i])


@kernel
def exp_cpu(start, stop, x, out):
    for i in range(start, stop):
        exp_row(nonnegative(i), x, out)


EXP = Owner(exp_row, exp_cpu, "F1 F1")


@scalar
def expm1_row(i, x, out):
    out[i] = expm1(x[i])


@kernel
def expm1_cpu(start, stop, x, out):
    for i in range(start, stop):
        expm1_row(nonnegative(i), x, out)


EXPM1 = Owner(expm1_row, expm1_cpu, "F1 F1")


@scalar
def log_row(i, x, out):
    out[i] = log(x[i])


@kernel
def log_cpu(start, stop, x, out):
    for i in range(start, stop):
        log_row(nonnegative(i), x, out)


LOG = Owner(log_row, log_cpu, "F1 F1")


@scalar
def tanh_row(i, x, out):
    out[i] = tanh(x[i])


@kernel
def tanh_cpu(start, stop, x, out):
    for i in range(start, stop):
        tanh_row(nonnegative(i), x, out)


TANH = Owner(tanh_row, tanh_cpu, "F1 F1")


@scalar
def sigmoid_row(i, x, out):
    out[i] = sigmoid(x[i])


@kernel
def sigmoid_cpu(start, stop, x, out):
    for i in range(start, stop):
        sigmoid_row(nonnegative(i), x, out)


SIGMOID = Owner(sigmoid_row, sigmoid_cpu, "F1 F1")


@scalar
def atan2_row(i, y, x, out):
    out[i] = atan2(y[i], x[i])


@kernel
def atan2_cpu(start, stop, y, x, out):
    for i in range(start, stop):
        atan2_row(nonnegative(i), y, x, out)


ATAN2 = Owner(atan2_row, atan2_cpu, "F1 F1 F1")
