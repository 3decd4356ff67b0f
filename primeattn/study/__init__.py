"""Every mechanism as a mathematical object: properties, counter-examples, spectra, formulas, dynamics."""

__all__: list[str] = []
