"""What every room stands on: jit options, owners of loops, devices, checks, elementary functions.

Nothing here knows a prime, a quaternion or a mechanism.
"""
