"""The command line: asks the façade, renders, returns."""
