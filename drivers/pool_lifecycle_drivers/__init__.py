"""The concrete drivers of pool-lifecycle: processes, health probes, model files, engine profiles."""
